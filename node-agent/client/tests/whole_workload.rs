//! `kubectl portolan declare` of one pod: the other pods of its workload are on other nodes, whose agents are asked too.
#![cfg(unix)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::process::Command;

use portolan_testing::api_server::server::{Server, Settings, Transport};
use portolan_testing::scratch::Scratch;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A pod of a workload, on a node of its own.
#[derive(Clone, Copy)]
struct OnNode {
    node: &'static str,
    pod: &'static str,
    /// Kind and name of the owner.
    owner: (&'static str, &'static str),
    /// The workload under which the agent knows the pod, as in a query.
    workload: &'static str,
    port: u16,
}

/// The facts of a pod of namespace `shop` that serves a port, undeclared, which somebody called.
fn basis(OnNode { node, pod, owner: (kind, name), port, .. }: OnNode) -> Value {
    let at = "2026-11-30T00:00:00Z";
    let peer = json!({
        "address": "10.1.0.3", "origin": "pod", "ref": "shop/curler", "connections": 1, "packets": 1, "bytes": 1,
        "firstSeen": at, "lastSeen": at,
    });
    let port = json!({
        "protocol": "TCP", "port": port, "name": null, "container": "app", "exposure": "pod", "code": "undeclared-active",
        "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []},
        "process": {"pid": 1, "name": "web", "executable": null},
        "traffic": {"since": at, "attempts": 1, "connections": 1, "packets": 1, "bytes": 1, "lastSeen": at,
                    "peers": [peer], "truncated": false},
    });
    let pod = json!({
        "pod": {"namespace": "shop", "name": pod, "uid": pod, "workload": {"kind": kind, "name": name},
                "hostNetwork": false},
        "labels": {}, "policies": [], "ports": [port],
        "containers": [{"name": "app", "kind": "regular", "ports": []}],
    });
    json!({
        "schema": "portolan/v1", "node": node, "time": at, "pods": [pod], "neighbours": [], "callers": [],
        "truncated": false,
    })
}

/// Starts an agent with one pod, which it knows by its name and by its workload.
async fn agent(one: OnNode) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned();
            let asks = head.lines().next().unwrap_or_default();
            let is_known = asks.contains(&format!("pod={}", one.pod)) || asks.contains(one.workload);
            let (status, body) = if is_known || !asks.contains("/v1/policy") {
                ("200 OK", basis(one))
            } else {
                ("404 Not Found", json!({"status": 404, "pointer": "query", "detail": "no such pod"}))
            };
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// Runs `kubectl portolan declare` for a pod in a cluster of these nodes. Returns the ports that it declares.
async fn declared(pod: &'static str, nodes: [OnNode; 2]) -> Vec<u64> {
    let mut settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
    for one in nodes {
        settings.forwards.insert((format!("portolan-{}", one.node), 9470), agent(one).await);
    }
    let server = Server::start(Transport::Tls, settings).await;
    for OnNode { node, .. } in nodes {
        let labels = json!({"app.kubernetes.io/part-of": "portolan", "app.kubernetes.io/component": "agent"});
        server.put(
            "pods",
            json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": format!("portolan-{node}"), "namespace": "portolan", "labels": labels},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"},
            }),
        );
    }
    let scratch = Scratch::new(&format!("whole-workload-{pod}"));
    let kubeconfig = server.client_files(scratch.directory()).kubeconfig;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
    command.args(["declare", &format!("shop/{pod}"), "-o", "json"]).env("KUBECONFIG", kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    let patch: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let template = patch.pointer("/spec/jobTemplate").unwrap_or(&patch);
    let ports = template.pointer("/spec/template/spec/containers/0/ports").and_then(Value::as_array);
    let mut numbers: Vec<u64> =
        ports.into_iter().flatten().filter_map(|port| port["containerPort"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_stands_for_its_workload_on_all_nodes() {
    let (owner, workload) = (("Deployment", "web"), "workload=Deployment%2Fweb");
    let first = OnNode { node: "node-1", pod: "web-1", owner, workload, port: 9090 };
    let second = OnNode { node: "node-2", pod: "web-2", port: 7000, ..first };
    assert_eq!(declared("web-1", [first, second]).await, [7000, 9090]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_job_stands_for_all_jobs_of_its_cron_job() {
    let (owner, workload) = (("Job", "backup-29901234"), "workload=CronJob%2Fbackup");
    let first = OnNode { node: "node-1", pod: "backup-29901234-abcde", owner, workload, port: 9090 };
    let owner = ("Job", "backup-29902674");
    let second = OnNode { node: "node-2", pod: "backup-29902674-x2x4z", owner, port: 7000, ..first };
    assert_eq!(declared("backup-29901234-abcde", [first, second]).await, [7000, 9090]);
}
