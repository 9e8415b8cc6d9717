//! The agent with the API server as its source of pods: listeners are matched to pods by the cgroup that kubelet would
//! give their processes.

use libtest_mimic::Trial;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::case;
use crate::harness::agent::{Agent, Stdout};
use crate::harness::cgroup::PodCgroup;
use crate::harness::manifest;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("kubernetes/a_listener_is_its_pods_by_cgroup", a_listener_is_its_pods_by_cgroup),
        case("kubernetes/ready_without_the_api_server_and_right_once_it_is_there", right_once_it_is_there),
        case("kubernetes/reports_and_events_tell_the_api_server", reports_and_events_tell_the_api_server),
    ]
}

const UID: &str = "3f2b8a52-7c1e-4f57-9a55-2f6f0a3d9c11";
const CONTAINER: &str = "5d3c1f0e9b7a68245d3c1f0e9b7a68245d3c1f0e9b7a68245d3c1f0e9b7a6824";

/// An API server, its runtime, and a world whose pods only that server knows.
struct Cluster {
    world: World,
    server: Server,
    runtime: Runtime,
}

impl Cluster {
    fn new() -> Self {
        let mut world = World::new(&["web", "client"]);
        world.pods.clear();
        manifest::write(&world.metadata(), &[]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
        let server = runtime.block_on(Server::start(Transport::Tls, settings));
        Self { world, server, runtime }
    }

    fn declare(&self, ports: &[u16]) {
        let ports: Vec<Value> = ports.iter().map(|port| json!({ "containerPort": port })).collect();
        self.server.put(
            "pods",
            json!({
                "metadata": {"namespace": "shop", "name": "web-5d4f8c7b9-x", "uid": UID,
                    "labels": {"pod-template-hash": "5d4f8c7b9"},
                    "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f8c7b9", "controller": true}]},
                "spec": {"nodeName": "tier-node", "containers": [{"name": "main", "image": "web:1", "ports": ports}]},
                "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": true,
                    "containerID": format!("containerd://{CONTAINER}"), "state": {"running": {}}}]},
            }),
        );
    }

    fn agent(&self, more: &[&str]) -> Agent {
        let directory = self.world.scratch.path("client");
        std::fs::create_dir_all(&directory).expect("a directory");
        let files = self.server.client_files(&directory);
        let kubeconfig = files.kubeconfig.to_str().expect("a path");
        let options = [&["--metadata", "kubernetes", "--kubeconfig", kubeconfig], more].concat();
        self.world.agent_with(&options, Stdout::Read)
    }

    fn is_declared(&self, agent: &Agent, port: u16) {
        let seen = self.world.listener(agent, "web", port, |item| item.declaration.status == "declared");
        let pod = seen.pod.expect("a pod");
        assert_eq!((pod.namespace.as_str(), pod.uid.as_str()), ("shop", UID));
        let workload = pod.workload.expect("a workload");
        assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("Deployment", "web"));
        assert_eq!(seen.container.map(|container| container.name).as_deref(), Some("main"));
    }
}

fn a_listener_is_its_pods_by_cgroup() {
    let cluster = Cluster::new();
    cluster.declare(&[8080]);
    let agent = cluster.agent(&[]);
    let cgroup = PodCgroup::new(UID, CONTAINER);
    let web = cluster.world.actor("web");
    cgroup.take(&web);
    web.listen("0.0.0.0:8080");
    web.listen("0.0.0.0:7000");
    cluster.is_declared(&agent, 8080);
    let finding = cluster.world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    assert_eq!(finding.code, "undeclared-reachable");
    assert_eq!(finding.pod.map(|pod| pod.uid).as_deref(), Some(UID));
    cluster.declare(&[8080, 7000]);
    cluster.is_declared(&agent, 7000);
}

fn right_once_it_is_there() {
    let cluster = Cluster::new();
    cluster.declare(&[8080]);
    cluster.runtime.block_on(cluster.server.go_away());
    let agent = cluster.agent(&[]);
    let source = |state: &'static str| {
        eventually(TIMEOUT, &format!("the API server's source is {state}"), || {
            let sources = agent.status().sources;
            let found = sources.iter().find(|source| source.name == "kubernetes" && source.state == state);
            found.cloned().ok_or_else(|| format!("{sources:?}"))
        })
    };
    assert!(source("down").reason.is_some_and(|reason| reason.contains("refused")));
    let cgroup = PodCgroup::new(UID, CONTAINER);
    let web = cluster.world.actor("web");
    cgroup.take(&web);
    web.listen("0.0.0.0:8080");
    cluster.world.listener(&agent, "web", 8080, |item| item.pod.is_none());
    cluster.runtime.block_on(cluster.server.come_back());
    source("up");
    cluster.is_declared(&agent, 8080);
    let lines = agent.diagnostics().lines().filter(|line| line.contains("cannot reach")).count();
    assert!(lines <= 12, "one line per source and reason, not one per try: {}", agent.diagnostics());
}

fn reports_and_events_tell_the_api_server() {
    let cluster = Cluster::new();
    cluster.declare(&[8080]);
    let agent = cluster.agent(&["--reports", "--events"]);
    let cgroup = PodCgroup::new(UID, CONTAINER);
    let (web, client) = (cluster.world.actor("web"), cluster.world.actor("client"));
    cgroup.take(&web);
    web.serve("0.0.0.0:7000");
    client.connect_many(cluster.world.v4("web", 7000), 1);
    let written = |plural: &str, holds: &dyn Fn(&Value) -> bool| {
        // Nothing is written before a random moment within half a minute of the start.
        eventually(TIMEOUT * 6, plural, || {
            let objects = cluster.server.objects(plural);
            objects.into_iter().find(holds).ok_or_else(|| format!("{:?}", agent.status().sources))
        })
    };
    let report = written("reports", &|report| report["summary"]["fail"] == 1);
    assert_eq!(report["metadata"]["name"], format!("portolan-{UID}"));
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], UID);
    assert_eq!(report["results"][0]["rule"], "7000/TCP");
    let event = written("events", &|_| true);
    assert_eq!((&event["regarding"]["uid"], &event["type"]), (&json!(UID), &json!("Warning")));
    for sink in ["sink/reports", "sink/events"] {
        assert!(agent.status().sources.iter().any(|source| source.name == sink && source.state == "up"));
    }
}
