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

/// The facts of a pod of Deployment `shop/web` that serves a port, undeclared, which somebody called.
fn basis(node: &str, pod: &str, port: u16) -> Value {
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
        "pod": {"namespace": "shop", "name": pod, "uid": pod, "workload": {"kind": "Deployment", "name": "web"},
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
async fn agent(node: &'static str, pod: &'static str, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned();
            let asks = head.lines().next().unwrap_or_default();
            let is_known = asks.contains(&format!("pod={pod}")) || asks.contains("workload=");
            let (status, body) = if is_known || !asks.contains("/v1/policy") {
                ("200 OK", basis(node, pod, port))
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

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_stands_for_its_workload_on_all_nodes() {
    let mut settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
    for (node, pod, port) in [("node-1", "web-1", 9090), ("node-2", "web-2", 7000)] {
        settings.forwards.insert((format!("portolan-{node}"), 9470), agent(node, pod, port).await);
    }
    let server = Server::start(Transport::Tls, settings).await;
    for node in ["node-1", "node-2"] {
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
    let scratch = Scratch::new("whole-workload");
    let kubeconfig = server.client_files(scratch.directory()).kubeconfig;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
    command.args(["declare", "shop/web-1", "-o", "json"]).env("KUBECONFIG", kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    let patch: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ports = patch.pointer("/spec/template/spec/containers/0/ports").and_then(Value::as_array);
    let mut numbers: Vec<u64> =
        ports.into_iter().flatten().filter_map(|port| port["containerPort"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [7000, 9090], "{patch}: {err}");
}
