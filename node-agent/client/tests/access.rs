//! Tests of how `kubectl-portolan` reaches a cluster: real TLS and a real port-forward to a stand-in API server, directly and
//! through proxies, with credentials from a file and from a program. KUBECTL_PORTOLAN names another build of the binary.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "secret";
/// Variables of the machine that would change how the API server is reached.
const PROXIES: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// A stand-in API server with one agent, which has one listener.
struct Cluster {
    server: Server,
    scratch: Scratch,
    authority: PathBuf,
}

struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Cluster {
    async fn start() -> Self {
        let agent = agent().await;
        let mut settings = Settings { token: Some(TOKEN.to_owned()), ..Settings::default() };
        settings.forwards.insert(("portolan-one".to_owned(), 9470), agent);
        let server = Server::start(Transport::Tls, settings).await;
        let labels = json!({"app.kubernetes.io/part-of": "portolan", "app.kubernetes.io/component": "agent"});
        server.put(
            "pods",
            json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "portolan-one", "namespace": "portolan", "labels": labels},
                "spec": {"nodeName": "node-1", "containers": []},
                "status": {"phase": "Running"},
            }),
        );
        for name in ["portolan", "shop", "shipping"] {
            let metadata = json!({"name": name});
            server.put("namespaces", json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}));
        }
        let scratch = Scratch::new("access");
        let authority = server.client_files(scratch.directory()).authority;
        Self { server, scratch, authority }
    }

    /// Writes a kubeconfig with these further fields of cluster and user.
    fn kubeconfig(&self, cluster: &str, user: &str) -> PathBuf {
        let text = format!(
            "current-context: here\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}, {{name: there, context: {{cluster: c}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: '{}'{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n",
            self.server.url(),
            self.authority.display(),
        );
        self.scratch.write("config", &text)
    }
}

/// Starts an agent that answers every request with one listener.
async fn agent() -> SocketAddr {
    let body = r#"{"schema":"portolan/v1","items":[{"id":"one"}],"continue":null,"generation":1}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// Starts an HTTP proxy. Returns its address and the number of tunnels that it has opened.
async fn proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tunnel(stream, Arc::clone(&count)));
        }
    });
    (address, opened)
}

async fn tunnel(mut client: TcpStream, opened: Arc<AtomicUsize>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?;
    let mut server = TcpStream::connect(target).await.ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    opened.fetch_add(1, Ordering::Relaxed);
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// Runs the plugin with a kubeconfig and further variables.
async fn run(kubeconfig: PathBuf, words: &str, variables: &[(&str, &str)]) -> Outcome {
    let binary = std::env::var("KUBECTL_PORTOLAN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_kubectl-portolan").to_owned());
    let mut command = Command::new(binary);
    for name in PROXIES {
        command.env_remove(name);
    }
    command.args(words.split(' ')).envs(variables.iter().copied()).env("KUBECONFIG", kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").replace("\r\n", "\n");
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn assert_answered(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), "listener/one\n"), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_asked_through_tls_and_a_port_forward() {
    let cluster = Cluster::start().await;
    let kubeconfig = cluster.kubeconfig("", &format!("token: {TOKEN}"));
    assert_answered(&run(kubeconfig, "listeners -o name", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_kubeconfig_is_used() {
    let cluster = Cluster::start().await;
    let (proxy, opened) = proxy().await;
    let kubeconfig =
        cluster.kubeconfig(&format!(", proxy-url: 'http://{proxy}'"), &format!("token: {TOKEN}"));
    assert_answered(&run(kubeconfig, "listeners -o name", &[("NO_PROXY", "127.0.0.1")]).await);
    assert!(opened.load(Ordering::Relaxed) > 0, "the server was reached without the proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_not_used_for_a_server_on_loopback() {
    let cluster = Cluster::start().await;
    let (proxy, opened) = proxy().await;
    let kubeconfig = cluster.kubeconfig("", &format!("token: {TOKEN}"));
    assert_answered(
        &run(kubeconfig, "listeners -o name", &[("HTTPS_PROXY", &format!("http://{proxy}"))]).await,
    );
    assert_eq!(opened.load(Ordering::Relaxed), 0);
}

/// Writes a program and returns the user of a kubeconfig whose credentials it prints.
#[cfg(unix)]
fn user_of_program(scratch: &Scratch, program: &str) -> String {
    let path = scratch.write("credentials.sh", program);
    format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['{}'], \
         env: [{{name: WHO, value: {TOKEN}}}], interactiveMode: IfAvailable}}",
        path.display()
    )
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_kubeconfig_gives_the_credentials() {
    let cluster = Cluster::start().await;
    let program = "printf '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
                   \"status\":{\"token\":\"%s\"}}' \"$WHO\"\n";
    let kubeconfig = cluster.kubeconfig("", &user_of_program(&cluster.scratch, program));
    assert_answered(&run(kubeconfig, "listeners -o name", &[]).await);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_gives_no_credentials_is_named_in_one_line() {
    let cluster = Cluster::start().await;
    for (program, said) in [
        ("echo \"$WHO\"; exit 7\n", "the program sh of the kubeconfig ended with exit status: 7"),
        (
            "echo \"Login of $WHO: ok: yes\"\n",
            "the program sh of the kubeconfig wrote no ExecCredential: line 1",
        ),
        (
            "echo \"{\\\"status\\\": \\\"$WHO\\\"}\"\n",
            "the program sh of the kubeconfig wrote no ExecCredential",
        ),
    ] {
        let kubeconfig = cluster.kubeconfig("", &user_of_program(&cluster.scratch, program));
        let outcome = run(kubeconfig, "listeners -o name", &[]).await;
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{}", outcome.err);
        assert!(outcome.err.contains(said), "{}", outcome.err);
        assert!(!outcome.err.contains(TOKEN), "no secret of the program: {}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_offers_what_the_cluster_and_the_kubeconfig_have() {
    let cluster = Cluster::start().await;
    let kubeconfig = cluster.kubeconfig("", &format!("token: {TOKEN}"));
    for (words, expected) in [
        ("findings -n sh", "shipping\nshop\n:4\n"),
        ("explain por", "portolan/\n:6\n"),
        ("explain portolan/", "portolan/portolan-one\n:4\n"),
        ("explain -n portolan port", "portolan-one\n:4\n"),
        ("--context th", "there\n:4\n"),
        ("--context none findings -n sh", ":4\n"),
    ] {
        let outcome = run(kubeconfig.clone(), &format!("__complete {words}"), &[]).await;
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), expected), "{words}: {}", outcome.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_kubeconfig_is_named_without_its_text() {
    let scratch = Scratch::new("access-broken");
    let kubeconfig = scratch.write("kcbad.yaml", "users:\n- name: u\n  user:\n    token: s3cr3t: x\n");
    for words in ["findings".to_owned(), format!("findings --kubeconfig {}", kubeconfig.display())] {
        let outcome = run(kubeconfig.clone(), &words, &[]).await;
        assert_eq!(outcome.code, Some(2), "{}", outcome.err);
        assert!(outcome.err.contains("kcbad.yaml: line 4, column "), "{}", outcome.err);
        assert!(!outcome.err.contains("s3cr3t") && outcome.err.lines().count() == 1, "{}", outcome.err);
    }
}

/// Writes a kubeconfig for a server without a certificate authority.
fn kubeconfig_of(scratch: &Scratch, server: &str) -> PathBuf {
    let text = format!(
        "current-context: here\ncontexts: [{{name: here, context: {{cluster: c}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n"
    );
    scratch.write("config", &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_named_with_advice_and_reports_are_no_empty_files() {
    let scratch = Scratch::new("access-refused");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let closed = listener.local_addr().expect("an address");
    drop(listener);
    let kubeconfig = kubeconfig_of(&scratch, &format!("http://{closed}"));
    let outcome = run(kubeconfig.clone(), "findings -o junit", &[]).await;
    assert_eq!(outcome.code, Some(3), "{}", outcome.err);
    let said = format!(
        "cannot reach the API server http://{closed} (context here of {}): connection refused; is the cluster up, and the context right?\n",
        kubeconfig.display()
    );
    assert_eq!(outcome.err, said);
    assert!(
        outcome.out.contains("errors=\"1\"") && outcome.out.contains("connection refused"),
        "{}",
        outcome.out
    );
}

/// Starts a server that answers every connection with these bytes, and then is silent.
async fn server_that_says(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
            open.push(stream);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_or_is_none_of_kubernetes_is_named() {
    let scratch = Scratch::new("access-strange");
    let refusal = b"HTTP/1.1 418 x\r\ncontent-length: 11\r\n\r\n{\"error\":1}";
    for (scheme, answer, then) in [
        ("http", &b""[..], "within 1 s (--timeout)"),
        ("http", &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"[..], "within 1 s (--timeout)"),
        ("http", &refusal[..], "the API server answers 418"),
        ("https", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it does not speak TLS"),
    ] {
        let address = server_that_says(answer).await;
        let kubeconfig = kubeconfig_of(&scratch, &format!("{scheme}://{address}"));
        let outcome = run(kubeconfig, "--timeout 1 findings", &[]).await;
        assert_eq!(outcome.code, Some(3), "{}", outcome.err);
        assert!(outcome.err.contains(then), "{then}: {}", outcome.err);
    }
}
