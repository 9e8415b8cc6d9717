//! Checks the stand-in API server with the real kubectl: it reads the same objects as the agent's watchers.

use std::path::{Path, PathBuf};
use std::process::Command;

use portolan_testing::api_server::server::{Settings, Transport};
use portolan_testing::{api_server::object, tools};
use serde_json::{Value, json};

use crate::world::{FAST, NODE, World};

async fn run(kubectl: &Path, world: &World, words: &[&str]) -> String {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(&world.files.kubeconfig).arg("--cache-dir");
    command.arg(world.files.kubeconfig.with_file_name("cache")).args(words);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("kubectl runs")).await.expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_reads_what_our_watchers_read() {
    let Some(kubectl) = tools::program("kubectl") else {
        println!("skipped: no kubectl; run `cargo xtask setup --tests`");
        return;
    };
    let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
    let objects = [
        ("pods", object::pod("shop", "web", NODE)),
        ("pods", object::pod("shop", "other", "node-2")),
        ("services", object::service("shop", "web", 80, &json!("http"))),
        ("namespaces", object::namespace("shop")),
        ("networkpolicies", object::network_policy("shop", "web", 8080)),
    ];
    let mut world = World::with(Transport::Tls, settings, FAST, objects).await;
    world.listed().await;
    let json = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");

    let mine = "--field-selector=spec.nodeName=node-1";
    let pods = json(run(&kubectl, &world, &["get", "pods", "-A", mine, "-o", "json"]).await);
    let names: Vec<&str> = pods["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, world.known.pods.values().map(|pod| pod.name.as_str()).collect::<Vec<_>>());
    let yaml = run(&kubectl, &world, &["get", "pods", "-n", "shop", "-o", "yaml"]).await;
    assert!(yaml.contains("kind: Pod") && yaml.contains("containerPort: 8080"), "{yaml}");
    let policies = json(run(&kubectl, &world, &["get", "networkpolicies", "-A", "-o", "json"]).await);
    assert_eq!(
        policies["items"].as_array().map(Vec::len),
        world.known.policies.as_ref().map(|all| all.len())
    );
    let one = json(run(&kubectl, &world, &["get", "service", "web", "-n", "shop", "-o", "json"]).await);
    assert_eq!(one["spec"]["ports"][0]["targetPort"], "http");
    let table = run(&kubectl, &world, &["get", "namespaces"]).await;
    assert!(table.contains("shop"), "{table}");
}

/// Returns the golden file of `portolan policy`.
fn drafted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http_api/golden/command-policy-yaml.txt")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_takes_a_drafted_policy() {
    let Some(kubectl) = tools::program("kubectl") else {
        println!("skipped: no kubectl; run `cargo xtask setup --tests`");
        return;
    };
    let world = World::with(Transport::Plain, Settings::default(), FAST, []).await;
    let file = drafted();
    let words = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f"];
    let words: Vec<&str> = words.into_iter().chain(file.to_str()).collect();
    let made: Value = serde_json::from_str(&run(&kubectl, &world, &words).await).expect("JSON");
    let policy: k8s_openapi::api::networking::v1::NetworkPolicy =
        serde_json::from_value(made).expect("a NetworkPolicy");
    assert_eq!(policy.metadata.name.as_deref(), Some("multi-port-app-declared-ports"));
}

#[test]
fn the_schemas_of_kubernetes_admit_a_drafted_policy() {
    let tools = tools::directory().join("kubernetes-validate");
    let program = tools.join("bin/kubernetes-validate");
    if !program.is_file() {
        println!("skipped: no kubernetes-validate; run `cargo xtask setup --tests`");
        return;
    }
    for version in ["1.29", "1.33", "1.37"] {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &tools).arg(&program).args(["--strict", "-k", version]).arg(drafted());
        let output = command.output().expect("python3 runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}");
    }
}
