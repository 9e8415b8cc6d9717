//! `portolan explain` in real namespaces: which pod serves a NodePort, which netstat on the node does not show.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use portolan_report::explanation::TargetExplanation;

use super::case;
use crate::harness::agent::{Agent, binary};
use crate::harness::manifest;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("explain/a_node_port_leads_to_the_process_in_the_pods_netns", a_node_port_leads_to_the_process)]
}

const NODE_PORT: u16 = 32_264;

/// Returns a pod that declares 8080, and Services that send a NodePort to it, to no pod, and elsewhere.
fn manifests(netns: &str) -> String {
    let service = |name: &str, app: &str, target: &str, node_port: u16| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: tier}}\nspec:\n  type: NodePort\n  \
             clusterIP: 10.96.0.10\n  selector: {{app: {app}}}\n  ports:\n  - {{name: web, port: 80, targetPort: {target}, \
             nodePort: {node_port}}}\n"
        )
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: tier\n  uid: uid-{netns}\n  labels: {{app: web}}\n  \
         annotations:\n    portolan.dev/netns: {netns}\nspec:\n  containers:\n  - name: main\n    image: registry.example/web:1\n    \
         ports:\n    - {{name: http, containerPort: 8080}}\nstatus:\n  podIP: 10.77.0.10\n{}{}{}",
        service("web", "web", "http", NODE_PORT),
        service("dangling", "web", "8081", 30_081),
        service("elsewhere", "far", "80", 30_080),
    )
}

fn explain(agent: &Agent, target: &str, format: &str) -> Output {
    let server = format!("unix:{}", agent.socket().display());
    let mut command = Command::new(binary());
    command.args(["explain", target, "--server", &server, "-o", format]);
    command.output().expect("run portolan explain")
}

fn a_node_port_leads_to_the_process() {
    let world = World::new(&["web:8080", "curler"]);
    let netns = world.network.netns("web");
    manifest::write_text(&world.metadata(), &manifests(&netns));
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:8080");
    curler.connect_many(world.v4("web", 8080), 3);
    world.listener(&agent, "web", 8080, |item| item.traffic.connections == 3);

    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the node's own sockets");
    assert!(
        !sockets.contains(&format!(":{NODE_PORT:04X} 00000000:0000 0A")),
        "no socket of the node has the port"
    );
    let output = explain(&agent, &format!(":{NODE_PORT}"), "table");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "netstat on the node does not show port 32264, because no socket has it: a NodePort is a NAT rule",
        "The socket is in the network namespace of pod tier/web: port 8080/TCP, served by",
        &format!("(pid {})", web.pid()),
        "any address of any node, port 32264/TCP (NodePort)",
        "└─ Service tier/web, port 80/TCP (web) to targetPort http",
        &format!("└─ pod tier/web, port 8080/TCP, network namespace {netns}"),
        "└─ container main",
        "declared by container/main; expected by service tier/web:80",
        "3 connections",
    ] {
        assert!(flat.contains(words), "{words:?} is not in\n{text}");
    }

    let json = explain(&agent, ":32264", "json");
    let answer: TargetExplanation = serde_json::from_slice(&json.stdout).expect("an explanation");
    let peer = answer.ends[0].listener.as_ref().and_then(|listener| listener.traffic.peers.first());
    assert_eq!(peer.map(|peer| (peer.address.as_str(), peer.connections)), Some(("10.77.0.11", 3)));

    let dangling = explain(&agent, "svc/tier/dangling", "json");
    let answer: TargetExplanation = serde_json::from_slice(&dangling.stdout).expect("an explanation");
    assert_eq!((dangling.status.code(), answer.ends[0].state.as_str()), (Some(0), "silent"));
    assert_eq!(answer.ends[0].nearest.first().map(|near| near.port), Some(8080));
    let elsewhere = explain(&agent, "30080", "table");
    assert_eq!(elsewhere.status.code(), Some(3));
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(said.contains("no pod of Service tier/elsewhere runs on this node"), "{said}");

    web.kill();
    eventually(TIMEOUT, "nobody is said to listen", || {
        let output = explain(&agent, "tier/web:http", "table");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_said = text.contains("Nobody listens on port 8080/TCP of pod tier/web");
        if is_said { Ok(()) } else { Err(text) }
    });
}
