//! `listeners --idle`: open ports that were not called, of one agent and of all nodes. The agents answer 90 s after their start.

use std::sync::Arc;

use portolan_client::exit::Exit;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::{DeclarationStatus, Listener};
use portolan_engine::model::reach::Reach;
use portolan_engine::model::traffic::{Origin, Peer};
use serde_json::{Value, json};

use crate::cluster::seconds;
use crate::commands::{Outcome, run};
use crate::golden;
use crate::kubectl_portolan::{Cluster, of_two_nodes};
use crate::model::{Node, listener, pod};
use crate::served::Served;

/// Returns a listener of a pod, changed.
fn port(number: u16, change: impl FnOnce(&mut Listener)) -> Arc<Listener> {
    let mut port = listener(Some(pod("shop", "web")), Protocol::Tcp, number, DeclarationStatus::Undeclared);
    change(&mut port);
    port.into()
}

/// Returns a peer that made a connection at this second.
fn peer(origin: Origin, second: u64) -> Peer {
    let called = port(9090, |_| ());
    let peer = called.traffic.peers.first().expect("a peer");
    Peer { origin, connections: 2, packets: 10, last_seen: seconds(second), ..peer.clone() }
}

/// Lets a port be called.
fn called_by(port: &mut Listener, peers: Vec<Peer>) {
    port.traffic.connections = peers.iter().map(|peer| peer.connections).sum();
    port.traffic.packets = peers.iter().map(|peer| peer.packets).sum();
    port.traffic.last_seen = peers.iter().map(|peer| peer.last_seen).max();
    port.traffic.peers = peers;
}

/// Returns a node with a port for each rule; numbers below 2000 are idle in the last 30 s.
fn node(name: &'static str) -> Node {
    let listeners = vec![
        port(1001, |_| ()),
        port(1002, |port| {
            called_by(port, vec![peer(Origin::Pod, 20), peer(Origin::Node, 89)]);
            port.opened_at = None;
        }),
        port(1003, |port| {
            port.opened_at = None;
            port.traffic.earlier = Reach::External;
        }),
        port(2001, |port| called_by(port, vec![peer(Origin::Pod, 80)])),
        port(2002, |port| {
            called_by(port, vec![peer(Origin::Pod, 20), peer(Origin::Node, 89)]);
            port.traffic.truncated = true;
            port.traffic.connections += 1;
        }),
        port(2003, |port| {
            port.opened_at = Some(seconds(70));
            port.traffic.since = Some(seconds(70));
        }),
        port(2004, |port| {
            port.opened_at = None;
            port.traffic.since = Some(seconds(75));
        }),
        port(2005, |port| {
            port.port.protocol = Protocol::Udp;
            port.unproven = true;
        }),
        port(2006, |port| port.traffic.since = None),
    ];
    Node { name, listeners, findings: Vec::new(), ..Node::default() }
}

/// Returns the ports of the items of a list.
fn ports(outcome: &Outcome) -> Vec<u64> {
    let answer: Value = serde_json::from_str(&outcome.out).expect("JSON");
    answer["items"].as_array().expect("items").iter().filter_map(|item| item["port"].as_u64()).collect()
}

#[tokio::test]
async fn the_idle_ports_of_an_agent_are_a_table_with_the_last_call_and_what_is_left_out() {
    let served = Served::start(node("node-1")).await;
    let outcome = run(&format!("listeners --idle=30s --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
    golden::check("idle-table.txt", &outcome.out);
    golden::check("idle-notes.txt", &outcome.words);
    let wide = run(&format!("listeners --idle 30s -o wide --server {}", served.url())).await;
    golden::check("idle-wide.txt", &wide.out);
}

#[tokio::test]
async fn the_list_of_idle_ports_has_the_agents_objects_unchanged() {
    let served = Served::start(node("node-1")).await;
    let all = run(&format!("listeners -o json --server {}", served.url())).await;
    let idle = run(&format!("listeners --idle=30s -o json --server {}", served.url())).await;
    assert_eq!(ports(&idle), [1001, 1002, 1003], "{idle:?}");
    let (all, idle): (Value, Value) =
        (serde_json::from_str(&all.out).expect("JSON"), serde_json::from_str(&idle.out).expect("JSON"));
    let first_three = all["items"].as_array().expect("items").get(..3).expect("three");
    assert_eq!(idle["items"], json!(first_three));
    assert_eq!(
        idle.as_object().expect("object").keys().collect::<Vec<_>>(),
        all.as_object().expect("object").keys().collect::<Vec<_>>()
    );
    let names = run(&format!("listeners --idle=30s -o name --server {}", served.url())).await;
    assert_eq!(names.out, "listener/web-tcp-01001\nlistener/web-tcp-01002\nlistener/web-tcp-01003\n");
}

#[tokio::test]
async fn without_a_time_the_agents_own_time_of_counting_decides() {
    let served = Served::start(node("node-1")).await;
    let outcome = run(&format!("listeners --idle -o json --server {}", served.url())).await;
    assert_eq!(ports(&outcome), [1001, 1003, 2003, 2004], "1002 was called at second 20: {outcome:?}");
    for words in ["1 port is left out: UDP", "1 port is left out: traffic is not counted"] {
        assert!(outcome.words.contains(words), "{outcome:?}");
    }
    assert!(!outcome.words.contains("counts only since"), "{outcome:?}");
}

#[tokio::test]
async fn nothing_is_idle_for_longer_than_the_agents_count() {
    let served = Served::start(node("node-1")).await;
    let outcome = run(&format!("listeners --idle=7d --server {}", served.url())).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Fine, ""));
    assert!(outcome.words.starts_with("No open port is known to be idle for 7d.\n"), "{outcome:?}");
    let words =
        "node node-1 counts only since 2026-03-04T12:01:15Z, so that 2 ports are not called since then";
    assert!(outcome.words.contains(words), "{outcome:?}");
}

#[tokio::test]
async fn idle_ports_cannot_be_watched_and_a_time_needs_a_unit() {
    let served = Served::start(node("node-1")).await;
    let outcome = run(&format!("listeners --idle --watch --server {}", served.url())).await;
    let words = "--idle is about the time before now: leave out --watch, or --idle\n";
    assert_eq!((outcome.exit, outcome.words.as_str(), outcome.out.as_str()), (Exit::WrongUse, words, ""));
    let refused =
        <portolan::args::Cli as clap::Parser>::try_parse_from(["portolan", "listeners", "--idle=7"]);
    let said = refused.expect_err("refused").to_string();
    assert!(said.contains("expected a number and a unit of s, m, h, d or w"), "{said}");
}

#[tokio::test]
async fn the_idle_ports_of_all_nodes_are_one_answer_and_short_counts_are_named_by_node() {
    let mut cluster = Cluster::new("idle-all").await;
    cluster.agent(node("node-1")).await;
    cluster.agent(node("node-2")).await;
    let outcome = cluster.run("listeners --idle=30s").await;
    assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
    let watched = cluster.run("listeners --idle=30s --watch").await;
    let words = "--idle is about the time before now: leave out --watch, or --idle\n";
    assert_eq!((watched.exit, watched.words.as_str(), watched.out.as_str()), (Exit::WrongUse, words, ""));
    golden::check("cluster-idle-table.txt", &outcome.out);
    golden::check("cluster-idle-notes.txt", &outcome.words);
    let listed = cluster.run("listeners --idle=30s -n shop -o json").await;
    let list: Value = serde_json::from_str(&listed.out).expect("JSON");
    let found: Vec<(&str, u64)> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| Some((item["node"].as_str()?, item["port"].as_u64()?)))
        .collect();
    let each = |node| [1001, 1002, 1003].map(|port| (node, port));
    assert_eq!(found, [each("node-1"), each("node-2")].concat());
    assert_eq!((&list["nodes"], &list["missing"]), (&json!(["node-1", "node-2"]), &json!([])));
}

#[tokio::test]
async fn a_node_that_does_not_answer_makes_the_idle_ports_partial() {
    let cluster = of_two_nodes("idle-partial").await;
    cluster.pod("node-3", "Running");
    let outcome = cluster.run("listeners --idle=60s").await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    assert!(outcome.words.contains("of 3 nodes") && outcome.words.contains("node-3: "), "{outcome:?}");
    assert!(!outcome.out.contains("9090"), "called 30 s ago: {}", outcome.out);
    assert!(outcome.out.contains("8080"), "{}", outcome.out);
}
