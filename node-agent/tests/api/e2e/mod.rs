//! Parts of the e2e tier, tested without a cluster: its manifests against Kubernetes' schemas, its settings with helm, its
//! verdict on recorded lines, and kubectl with the plugin on the stand-in server. Tests whose tool is missing are skipped.

#[path = "../../e2e/example.rs"]
mod example;
#[path = "../../e2e/image.rs"]
mod image;
#[path = "../../e2e/tools.rs"]
mod tools;
#[path = "../../e2e/verdict.rs"]
mod verdict;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_testing::api_server::object;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::scratch;
use tools::{Tools, output, output_of};

/// Recorded output of an agent in the demo, with a line of diagnostics.
const RECORDED: &str = include_str!("../../e2e/recorded.log");
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Returns the tools for the cluster of this kubeconfig. `None`, with the reason printed, if one is missing.
fn tools(kubeconfig: &Path) -> Option<Tools> {
    let tools = Tools::new(kubeconfig);
    tools.map_err(|missing| println!("skipped: {missing}")).ok()
}

/// A directory that is removed on drop.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_else(|| vec![list.clone()])
}

fn objects() -> Vec<Value> {
    let all = [
        example::namespaces("agents", "examples"),
        example::app("examples", "busybox:1.36"),
        example::curler("examples", "busybox:1.36", "10.1.0.7", "10.96.0.10"),
    ];
    all.iter().flat_map(items).collect()
}

#[test]
fn the_schemas_of_kubernetes_admit_the_example() {
    let packages = portolan_testing::tools::directory().join("kubernetes-validate");
    if !packages.join("bin/kubernetes-validate").is_file() {
        println!("skipped: no kubernetes-validate; run `cargo xtask setup --tests`");
        return;
    }
    let directory = Scratch(scratch());
    for (number, object) in objects().iter().enumerate() {
        let file = directory.0.join(format!("{number}.json"));
        std::fs::write(&file, object.to_string()).expect("a file");
        for version in ["1.29", "1.33", "1.37"] {
            let mut command = Command::new("python3");
            command.env("PYTHONPATH", &packages).arg(packages.join("bin/kubernetes-validate"));
            let said = output(command.args(["--strict", "-k", version]).arg(&file));
            said.unwrap_or_else(|error| panic!("{version} {object}: {error}"));
        }
    }
}

#[test]
fn the_example_asks_for_nothing_that_a_restricted_namespace_refuses() {
    let pods: Vec<Value> = objects().into_iter().filter(|object| object["kind"] == "Pod").collect();
    assert_eq!(pods.len(), 2);
    for pod in pods {
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let security = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
    }
}

#[test]
fn the_chart_takes_the_image_whatever_its_reference_looks_like() {
    let Some(tools) = tools(Path::new("/dev/null")) else { return };
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portolan").display().to_string();
    for (reference, expected) in [
        ("docker.io/library/portolan:0.1.0", "docker.io/library/portolan:0.1.0"),
        ("localhost:5000/portolan", "localhost:5000/portolan:latest"),
        // Helm would read a number without the explicit text type.
        ("registry.example/team/portolan:17", "registry.example/team/portolan:17"),
        (&format!("portolan:1@{DIGEST}"), &format!("docker.io/library/portolan@{DIGEST}")),
        (
            &format!("registry.example:5000/portolan@{DIGEST}"),
            &format!("registry.example:5000/portolan@{DIGEST}"),
        ),
    ] {
        let settings = image::settings(reference);
        let mut words = vec!["template", "portolan-e2e-1", &chart, "--namespace=portolan-e2e-1"];
        words.extend(settings.iter().flat_map(|setting| ["--set-string", setting]));
        words.push("--set=agent.grace=3s");
        let text = output(&mut tools.helm(&words)).unwrap_or_else(|error| panic!("{reference}: {error}"));
        assert!(text.contains(&format!("image: \"{expected}\"")), "{reference}: {text}");
        assert!(text.contains("- --grace=3s"), "the value that the upgrade changes");
        // Names of objects that the tier looks up in the cluster.
        assert!(text.contains("kind: DaemonSet\nmetadata:\n  name: portolan-e2e-1\n"), "{text}");
        assert!(text.contains("app.kubernetes.io/component: agent"), "{text}");
    }
}

#[test]
fn the_example_is_recognised_in_recorded_lines() {
    let findings = verdict::in_log(RECORDED).expect("a log");
    let ids = verdict::of_example(&findings, "demo").expect("the example's findings");
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), [5000, 9090]);
    // The last line of each id counts.
    let ended = RECORDED.replace(r#""state":"open""#, r#""state":"resolved""#);
    let ended = verdict::in_log(&format!("{RECORDED}{ended}")).expect("a log");
    let said = verdict::of_example(&ended, "demo").expect_err("resolved");
    assert!(said.starts_with("0 open findings of demo/multi-port-app on port "), "{said}");
}

#[test]
fn what_is_not_the_examples_findings_is_refused_with_its_reason() {
    let refused = |what: &str, from: &str, to: &str| {
        let changed = RECORDED.replace(from, to);
        assert_ne!(changed, RECORDED, "{what}: nothing was replaced");
        let findings = verdict::in_log(&changed).expect("a log");
        verdict::of_example(&findings, "demo").expect_err(what)
    };
    let said = refused("not called yet", "undeclared-active", "undeclared-reachable");
    assert!(said.contains("undeclared-reachable"), "{said}");
    let said = refused("called by somebody else", r#""ref":"demo/curler""#, r#""ref":null"#);
    assert!(said.contains("demo/curler is not among the peers"), "{said}");
    let said = refused("of another pod", r#""name":"multi-port-app""#, r#""name":"other""#);
    assert!(said.starts_with("0 open findings"), "{said}");
    let said = refused("the declared port is told", r#""port":9090"#, r#""port":8080"#);
    assert!(said.starts_with("port 8080 is declared, and yet: "), "{said}");
    assert!(verdict::in_log("{\"kind\":\"Nonsense\"}\n").is_err());
    assert!(verdict::in_list("{}").is_err());
}

/// Starts an agent's API that answers each list with the recorded findings.
async fn recorded_agent() -> std::net::SocketAddr {
    let findings: Vec<Value> = RECORDED
        .lines()
        .filter(|line| line.contains(r#""kind":"Finding""#))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let list = json!({ "schema": "portolan/v1", "items": findings, "continue": null, "generation": 1 });
    let body = list.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            tokio::spawn(async move {
                let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
                while !asked.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(count @ 1..) => asked.extend_from_slice(&piece[..count]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_makes_the_example_and_finds_the_plugin() {
    let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
    let server = Server::start(Transport::Tls, settings).await;
    let directory = Scratch(scratch());
    let files = server.client_files(&directory.0);
    let Some(tools) = tools(&files.kubeconfig) else { return };
    let agent = recorded_agent().await;
    server.change_settings(|settings| {
        settings.forwards.insert(("portolan-1".to_owned(), 9470), agent);
    });
    let mut pod = object::pod("agents", "portolan-1", "node-1");
    let labels = json!({ "app.kubernetes.io/part-of": "portolan", "app.kubernetes.io/component": "agent" });
    pod["metadata"]["labels"] = labels;
    server.put("namespaces", object::namespace("agents"));
    server.put("namespaces", object::namespace("examples"));
    server.put("pods", pod);
    let run = move || {
        // The stand-in server has no schemas for validation.
        let create = ["create", "--filename=-", "--validate=false"];
        output_of(&mut tools.kubectl(&create), &example::app("examples", "busybox:1.36").to_string())?;
        let curler = example::curler("examples", "busybox:1.36", "10.1.0.7", "10.96.0.10").to_string();
        output_of(&mut tools.kubectl(&create), &curler)?;
        // The same command with which the tier checks for leftovers.
        let get = ["get", "--filename=-", "--ignore-not-found", "--output=name", "--namespace=examples"];
        let there = output_of(&mut tools.kubectl(&get), &curler)?;
        let gone = output_of(&mut tools.kubectl(&get), &curler.replace("\"curler\"", "\"gone\""))?;
        let words = ["portolan", "findings", "--agents-namespace", "agents", "--output", "json"];
        Ok::<_, String>((there, gone, output(tools.kubectl(&words).stdin(Stdio::null()))?))
    };
    let (there, gone, list) = tokio::task::spawn_blocking(run).await.expect("it ends").expect("kubectl");
    assert_eq!((there.trim(), gone.as_str()), ("pod/curler", ""));
    let ids = verdict::of_example(&verdict::in_list(&list).expect("a list"), "demo").expect("the findings");
    assert_eq!(ids.len(), 2);
    let made: Vec<String> = server
        .objects("pods")
        .iter()
        .filter(|pod| pod["metadata"]["namespace"] == "examples")
        .map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(made, ["curler", "multi-port-app"]);
    assert_eq!(server.objects("services").len(), 1);
}
