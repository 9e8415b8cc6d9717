//! Cases about a workload with replicas: its fingerprints survive a rollout, `declare` resolves its findings, and `scan` and the
//! other verbs of the plugin answer for the whole cluster and leave nothing behind.

use std::collections::BTreeSet;
use std::fs;

use portolan_report::wire::Finding;
use serde_json::{Value, json};

use super::example::{self, UNDECLARED};
use super::verdict::in_list;
use super::world::{POLLING, World};

/// Name of the Deployment.
const WEB: &str = "multi-port-web";
/// Number of pods of the workload.
const REPLICAS: usize = 2;

/// A Deployment of pods that listen as the example's pod does. Nobody calls them.
fn web(namespace: &str, image: &str) -> Value {
    let app = example::app(namespace, image);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": WEB },
        "spec": {
            "replicas": REPLICAS,
            "selector": { "matchLabels": { "app": WEB } },
            "template": {
                "metadata": { "labels": { "app": WEB } },
                "spec": app["items"][0]["spec"],
            },
        },
    })
}

/// Returns the output of `kubectl portolan` with these words.
fn plugin(world: &World, words: &[&str]) -> Result<String, String> {
    let place = format!("--agents-namespace={}", world.release);
    world.kubectl(&[&["portolan"], words, &[&*place]].concat())
}

/// Returns the open findings of the workload about the ports that no manifest declares.
fn open_findings(world: &World) -> Result<Vec<Finding>, String> {
    let words = ["findings", "--namespace", &world.examples, "--output=json"];
    let mut found = in_list(&plugin(world, &words)?)?;
    found.retain(|finding| {
        let workload = finding.pod.as_ref().and_then(|pod| pod.workload.as_ref());
        workload.is_some_and(|workload| workload.name == WEB)
            && finding.port.is_some_and(|port| UNDECLARED.contains(&port))
    });
    Ok(found)
}

/// Returns the fingerprints of the workload, once each of its pods has both findings.
fn fingerprints(world: &World) -> Result<(BTreeSet<String>, BTreeSet<String>), String> {
    let found = open_findings(world)?;
    let texts = |text: fn(&Finding) -> Option<&str>| -> BTreeSet<String> {
        found.iter().filter_map(text).map(str::to_owned).collect()
    };
    let pods = texts(|finding| finding.pod.as_ref().map(|pod| pod.uid.as_str()));
    match found.len() {
        count if count == REPLICAS * UNDECLARED.len() && pods.len() == REPLICAS => {
            Ok((texts(|finding| Some(&finding.fingerprint)), pods))
        }
        count => Err(format!("{count} findings of {} pods", pods.len())),
    }
}

/// Deploys the workload. After a rollout all its pods are others, and the fingerprints and rows are the same.
pub fn survives_a_rollout(world: &World) {
    let image = &world.example_image;
    world.create(&web(&world.examples, image)).expect("the workload is created");
    let (before, old_pods) = POLLING.eventually("findings of all replicas", || fingerprints(world));
    assert_eq!(before.len(), UNDECLARED.len(), "one fingerprint for each port: {before:?}");
    let target = format!("deployment/{WEB}");
    let namespace = format!("--namespace={}", world.examples);
    world.kubectl(&["rollout", "restart", &target, &namespace]).expect("a rollout");
    world.kubectl(&["rollout", "status", &target, &namespace, "--timeout=5m"]).expect("its end");
    let (after, new_pods) = POLLING.eventually("findings of the new replicas", || {
        let (fingerprints, pods) = fingerprints(world)?;
        if pods.is_disjoint(&old_pods) { Ok((fingerprints, pods)) } else { Err("old pods".to_owned()) }
    });
    assert_eq!(after, before, "a rollout adds no fingerprint");
    assert!(new_pods.is_disjoint(&old_pods));
    let table = plugin(world, &["findings", &namespace]).expect("a table");
    let rows = table.lines().filter(|line| line.contains(&format!("/deployment/{WEB} "))).count();
    assert_eq!(rows, UNDECLARED.len(), "one row for each port of the workload:\n{table}");
}

/// Applies the patch that `declare` writes. The findings are resolved after the rollout.
pub fn declared(world: &World) {
    let target = format!("{}/deployment/{WEB}", world.examples);
    let patch = plugin(world, &["declare", &target, "--all"]).expect("a patch");
    let file = std::env::temp_dir().join(format!("{}-declare.yaml", world.release));
    fs::write(&file, &patch).expect("written");
    let workload = format!("deployment/{WEB}");
    let namespace = format!("--namespace={}", world.examples);
    let path = format!("--patch-file={}", file.display());
    let applied = world.kubectl(&["patch", &workload, &namespace, &path]);
    let _ = fs::remove_file(&file);
    applied.unwrap_or_else(|error| panic!("{error}\n{patch}"));
    world.kubectl(&["rollout", "status", &workload, &namespace, "--timeout=5m"]).expect("a rollout");
    POLLING.eventually("no finding is open", || match open_findings(world)?.len() {
        0 => Ok(()),
        open => Err(format!("{open} findings are open")),
    });
}

/// Scans the nodes without the agents, and checks that nothing is left.
pub fn scanned(world: &World) {
    let image = format!("--image={}", world.agent_image);
    let words = ["portolan", "scan", &image, "--namespace", &world.examples, "--output=json"];
    let text = world.kubectl(&words).expect("a scan");
    let ports: BTreeSet<u16> =
        in_list(&text).expect("findings").iter().filter_map(|finding| finding.port).collect();
    assert!(UNDECLARED.iter().all(|port| ports.contains(port)), "{text}");
    let label = "--selector=app.kubernetes.io/managed-by=kubectl-portolan";
    POLLING.eventually("the scan leaves nothing", || {
        let words = ["get", "jobs,pods,namespaces", "--all-namespaces", label, "--output=name"];
        match world.kubectl(&words)?.trim() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
}

/// Asks each of the other verbs of all nodes.
pub fn asked(world: &World) {
    let namespace = format!("--namespace={}", world.examples);
    let status = plugin(world, &["status", "--output=json"]).expect("the status of the agents");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["items"].as_array().is_some_and(|agents| !agents.is_empty()), "{status}");
    for (words, expected) in [
        (vec!["listeners", &*namespace], "8080"),
        (vec!["images", &*namespace], "8080"),
        (vec!["baseline", &*namespace, "--reason=e2e"], "exceptions:"),
        (vec!["policy", &*format!("{}/deployment/{WEB}", world.examples)], "kind: NetworkPolicy"),
        (vec!["doctor"], "nodes has the pod of an agent"),
    ] {
        let text = plugin(world, &words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(text.contains(expected), "{words:?}: {text}");
    }
}
