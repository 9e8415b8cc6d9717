//! Callers whose addresses the node translates, with real rules as kube-proxy and the portmap plugin write them. The
//! rules are in the hub, which the agent takes for the node.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use portolan_report::wire::{Connection, Finding, Via};

use super::case;
use crate::harness::actor::Actor;
use crate::harness::agent::Agent;
use crate::harness::manifest;
use crate::harness::network::{inside, nat_rule};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("translated/a_pod_that_dials_a_cluster_ip", a_pod_that_dials_a_cluster_ip),
        case("translated/a_pod_that_dials_a_cluster_ip_over_ipv6", over_ipv6),
        case("translated/an_outsider_through_a_node_port", an_outsider_through_a_node_port),
        case("translated/an_outsider_behind_the_nodes_address", an_outsider_behind_the_nodes_address),
        case("translated/short_connections_through_a_service", short_connections_through_a_service),
        case("translated/whoever_dials_the_pod_itself_came_by_no_service", dialled_directly),
        case("translated/where_nothing_is_tracked_nothing_is_said", untracked),
    ]
}

const CLUSTER_IP: &str = "10.96.0.10:80";
const CLUSTER_IPV6: &str = "[fd96::10]:80";
const NODE_PORT: &str = "203.0.113.1:30080";
const MASQUERADED: &str = "203.0.113.1:30081";
const SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: by-hand\n  namespace: tier\nspec:\n  \
                       type: NodePort\n  clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, 'fd96::10']\n  ports:\n  \
                       - port: 80\n    targetPort: 7000\n    nodePort: 30080\n";

/// Creates a node with a pod `web`, whose callers arrive through the node's rules.
fn node() -> (World, Agent) {
    let world = World::new(&["web", "curler", "outside"]);
    let pods = std::fs::read_to_string(world.metadata()).expect("the manifests");
    manifest::write_text(&world.metadata(), &(pods + SERVICE));
    let hub = world.network.netns("hub");
    world.network.ip("web", "route add default via fd77::1\n");
    world.network.ip("curler", "route add default via fd77::1\n");
    inside(&hub, || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forward IPv6"));
    let to = world.v4("web", 7000);
    let to_v6 = world.v6("web", 7000);
    for (dialled, to) in [(CLUSTER_IP, to), (CLUSTER_IPV6, to_v6), (NODE_PORT, to), (MASQUERADED, to)] {
        translate(&hub, dialled.parse().expect("an address"), to);
    }
    let masquerade = "POSTROUTING -p tcp -m conntrack --ctorigdstport 30081 -j MASQUERADE";
    nat_rule(&hub, "iptables", masquerade);
    let agent = Agent::start_on_node(&hub, &world.metadata(), world.scratch.path("api.sock"));
    (world, agent)
}

fn translate(netns: &str, dialled: SocketAddr, to: SocketAddr) {
    let tool = if dialled.is_ipv6() { "ip6tables" } else { "iptables" };
    let (address, port) = (dialled.ip(), dialled.port());
    let text = format!("PREROUTING -p tcp -d {address} --dport {port} -j DNAT --to-destination {to}");
    nat_rule(netns, tool, &text);
}

/// Returns the finding about the port once its only caller is known with the address it dialled.
fn finding(world: &World, agent: &Agent, code: &str) -> (Finding, String, Option<String>, Via) {
    let finding = world.finding(agent, "web", 7000, |finding| {
        finding.code == code && finding.traffic.peers.first().is_some_and(|peer| peer.via.is_some())
    });
    let peer = finding.traffic.peers[0].clone();
    (finding, peer.origin, peer.reference, peer.via.expect("what was dialled"))
}

fn only_connection(agent: &Agent) -> Connection {
    eventually(TIMEOUT, "a recorded connection", || {
        agent.connections()?.into_iter().next().ok_or_else(|| "none".to_owned())
    })
}

/// Connections before the finding opens are counted, but perhaps not recorded.
fn serve(world: &World, agent: &Agent, web: &Actor, address: &str) {
    web.serve(address);
    world.finding(agent, "web", 7000, |finding| finding.state == "open");
}

fn a_pod_that_dials_a_cluster_ip() {
    let (world, agent) = node();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    curler.connect_many(CLUSTER_IP.parse().unwrap(), 3);
    let (_, origin, reference, via) = finding(&world, &agent, "undeclared-active");
    assert_eq!((origin.as_str(), reference.as_deref()), ("service", Some("tier/curler")));
    assert_eq!((via.address.as_str(), via.port, via.kind.as_str()), ("10.96.0.10", 80, "clusterIP"));
    assert_eq!((via.reference.as_deref(), via.client), (Some("tier/by-hand"), None));
    let connection = only_connection(&agent);
    assert_eq!(connection.remote.origin, "service");
    assert_eq!(connection.remote.via.expect("what was dialled").port, 80);
    let sources = agent.status().sources;
    assert!(sources.iter().any(|source| source.name == "conntrack" && source.state == "up"), "{sources:?}");
}

fn over_ipv6() {
    let (world, agent) = node();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    serve(&world, &agent, &web, "[::]:7000");
    curler.connect_many(CLUSTER_IPV6.parse().unwrap(), 1);
    let (_, origin, reference, via) = finding(&world, &agent, "undeclared-active");
    assert_eq!((origin.as_str(), reference.as_deref()), ("service", Some("tier/curler")));
    assert_eq!((via.address.as_str(), via.reference.as_deref()), ("fd96::10", Some("tier/by-hand")));
}

fn an_outsider_through_a_node_port() {
    let (world, agent) = node();
    let (web, outside) = (world.actor("web"), world.actor("outside"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    outside.connect_many(NODE_PORT.parse().unwrap(), 1);
    let (finding, origin, _, via) = finding(&world, &agent, "undeclared-external");
    assert_eq!((origin.as_str(), via.kind.as_str()), ("external", "nodePort"));
    assert_eq!((via.address.as_str(), via.reference.as_deref()), ("203.0.113.1", Some("tier/by-hand")));
    assert!(finding.message.contains("through NodePort 203.0.113.1:30080"), "{}", finding.message);
}

fn an_outsider_behind_the_nodes_address() {
    let (world, agent) = node();
    let (web, outside) = (world.actor("web"), world.actor("outside"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    outside.connect_many(MASQUERADED.parse().unwrap(), 1);
    let (finding, origin, _, via) = finding(&world, &agent, "undeclared-external");
    assert_eq!(origin, "external", "the pod saw the node, the node saw who it was");
    assert_eq!(finding.traffic.peers[0].address, "10.77.0.1");
    assert_eq!((via.kind.as_str(), via.client.as_deref()), ("nodeAddress", Some("203.0.113.5")));
}

fn short_connections_through_a_service() {
    let (world, agent) = node();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    curler.connect_many(CLUSTER_IP.parse().unwrap(), 20);
    eventually(TIMEOUT, "each connection with what it dialled", || {
        let all = agent.connections()?;
        let known = all.iter().filter(|connection| connection.remote.via.is_some()).count();
        (known == 20 && all.len() == 20).then_some(()).ok_or_else(|| format!("{known} of {}", all.len()))
    });
}

fn dialled_directly() {
    let (world, agent) = node();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    curler.connect_many(world.v4("web", 7000), 1);
    let finding = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    assert_eq!(finding.traffic.peers[0].origin, "pod");
    assert_eq!(finding.traffic.peers[0].via, None);
    assert_eq!(only_connection(&agent).remote.via, None);
}

fn untracked() {
    let world = World::new(&["web", "curler"]);
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    serve(&world, &agent, &web, "0.0.0.0:7000");
    curler.connect_many(world.v4("web", 7000), 1);
    world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    // Connections of one caller are looked up 32 times per second.
    eventually(TIMEOUT, "status says that nothing is tracked", || {
        curler.connect_many(world.v4("web", 7000), 40);
        let sources = agent.status().sources;
        let row = sources.iter().find(|source| source.name == "conntrack" && source.state == "down");
        row.map(drop).ok_or_else(|| format!("{sources:?}"))
    });
    assert_eq!(only_connection(&agent).remote.origin, "pod");
}
