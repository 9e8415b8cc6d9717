//! Tests of the process of `kubectl portolan ui`: what it prints, how it ends, and a port that is taken.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use serde_json::json;

/// Starts a stand-in API server with the pod of an agent that does not listen. Returns its kubeconfig.
async fn cluster() -> (Server, Scratch, PathBuf) {
    let server = Server::start(Transport::Tls, Settings::default()).await;
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
    let scratch = Scratch::new("ui");
    let kubeconfig = server.client_files(scratch.directory()).kubeconfig;
    (server, scratch, kubeconfig)
}

/// Returns the plugin without a terminal, so that no browser is opened.
fn plugin(kubeconfig: &PathBuf, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
    command.args(words).env("KUBECONFIG", kubeconfig).env_remove("HTTPS_PROXY").env_remove("https_proxy");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_page_with_exit_code_0() {
    let (_server, _scratch, kubeconfig) = cluster().await;
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = plugin(&kubeconfig, &["ui"]).spawn().expect("starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut url).expect("a line");
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("a URL");
        let address: SocketAddr = address.parse().expect("an address");
        assert!(TcpStream::connect(address).is_ok(), "it listens: {url}");
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let output = child.wait_with_output().expect("ends");
        assert!(TcpStream::connect(address).is_err(), "it listens no more");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    });
    let (code, err) = ended.await.expect("no panic");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("on 127.0.0.1 only") && err.contains("no browser was opened: "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_one_clear_line_and_exit_code_2() {
    let (_server, _scratch, kubeconfig) = cluster().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut command = plugin(&kubeconfig, &["ui", "--port", &port]);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{err}");
    assert!(err.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
