//! Tests of the tables: content, order and escaping.

use super::*;
use crate::wire::{Declaration, Endpoint, Envelope, Netns, Peer, Pod, Policy, Process, Traffic};

fn envelope() -> Envelope {
    Envelope {
        schema: "portolan/v1".to_owned(),
        node: "n1".to_owned(),
        time: "2026-03-04T12:00:00.000Z".to_owned(),
    }
}

fn listener(port: u16, process: &str) -> Listener {
    Listener {
        envelope: envelope(),
        id: format!("id-{port}"),
        protocol: "TCP".to_owned(),
        port,
        addresses: vec!["0.0.0.0".to_owned(), "::".to_owned()],
        v6_only: false,
        sockets: 2,
        netns: Netns { inode: 4_026_532_000, name: Some("cni-1".to_owned()) },
        served_by: "process".to_owned(),
        process: Some(Process { pid: 42, name: process.to_owned(), executable: None }),
        other_processes: Vec::new(),
        forwarded_to: None,
        unproven: false,
        opened_at: None,
        state: "open".to_owned(),
        pod: None,
        container: None,
        declaration: Declaration {
            status: "undeclared".to_owned(),
            declared_by: Vec::new(),
            explained_by: Vec::new(),
        },
        traffic: Traffic::default(),
    }
}

fn finding(port: u16, severity: &str, process: &str) -> Finding {
    let peer = |address: &str, reference: Option<&str>| Peer {
        address: address.to_owned(),
        origin: "pod".to_owned(),
        reference: reference.map(ToOwned::to_owned),
        workload: None,
        caller_node: None,
        via: None,
        beyond_audience: false,
        connections: 3,
        packets: 30,
        bytes: 3000,
        first_seen: String::new(),
        last_seen: String::new(),
    };
    Finding {
        envelope: envelope(),
        id: format!("id-{port}"),
        state: "open".to_owned(),
        code: "undeclared-active".to_owned(),
        severity: severity.to_owned(),
        message: "port is open".to_owned(),
        first_seen: "2026-03-04T11:59:30.000Z".to_owned(),
        last_seen: "2026-03-04T12:00:00.000Z".to_owned(),
        pod: Some(Pod {
            namespace: "shop".to_owned(),
            name: "multi-port-app".to_owned(),
            uid: "u".to_owned(),
            workload: None,
            host_network: false,
            labels: None,
        }),
        container: None,
        protocol: Some("TCP".to_owned()),
        port: Some(port),
        listener: Some(Box::new(listener(port, process))),
        declaration: listener(port, process).declaration,
        exposure: "pod".to_owned(),
        policy: Policy { verdict: "unknown".to_owned(), policies: Vec::new() },
        traffic: Traffic {
            connections: 3,
            bytes: 3000,
            peers: vec![peer("10.0.0.7", Some("shop/curler")), peer("10.0.0.8", None)],
            ..Traffic::default()
        },
        suppressed_by: None,
    }
}

#[test]
fn a_port_without_a_listener_is_shown_too() {
    let stale = Finding { listener: None, ..finding(5432, "low", "x") };
    let text = findings(&[stale], Width::Narrow, Colour::Plain);
    assert!(text.contains("5432/TCP"), "{text}");
}

#[test]
fn counts_of_a_port_that_is_older_than_the_agent_say_how_long_they_run() {
    let mut counted = finding(9090, "high", "python3");
    if let Some(listener) = &mut counted.listener {
        listener.traffic.since = Some("2026-03-04T11:57:00.000Z".to_owned());
    }
    let text = |finding: &Finding| findings(std::slice::from_ref(finding), Width::Narrow, Colour::Plain);
    assert!(text(&counted).contains("3 conns 2.9KiB in 3m "), "{}", text(&counted));
    if let Some(listener) = &mut counted.listener {
        listener.opened_at.clone_from(&listener.traffic.since);
    }
    assert!(text(&counted).contains("3 conns 2.9KiB   "), "its opening was seen: {}", text(&counted));
}

#[test]
fn findings_are_listed_worst_first_as_kubectl_lists() {
    let given = [finding(5000, "medium", "python3"), finding(9090, "high", "python3")];
    let then = "\
SEVERITY   CODE                POD                   PORT       PROCESS       TRAFFIC          PEERS            AGE
high       undeclared-active   shop/multi-port-app   9090/TCP   python3(42)   3 conns 2.9KiB   shop/curler +1   30s
medium     undeclared-active   shop/multi-port-app   5000/TCP   python3(42)   3 conns 2.9KiB   shop/curler +1   30s
";
    assert_eq!(findings(&given, Width::Narrow, Colour::Plain), then);
}

#[test]
fn wide_has_more_columns_in_the_same_row() {
    let text = findings(&[finding(9090, "high", "python3")], Width::Wide, Colour::Plain);
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.contains("ADDRESSES") && text.contains("0.0.0.0,::") && text.contains("port is open"),
        "{text}"
    );
}

#[test]
fn only_the_severity_is_coloured() {
    let text = findings(&[finding(9090, "high", "python3")], Width::Narrow, Colour::Ansi);
    assert!(text.contains("\n\u{1b}[31mhigh\u{1b}[0m       undeclared-active"), "{text:?}");
    assert_eq!(text.matches('\u{1b}').count(), 2);
}

#[test]
fn names_that_a_pod_chose_are_escaped_and_break_no_row() {
    let evil = "a\u{1b}[2J\nb\u{202e}";
    for text in [
        findings(&[finding(1, "high", evil)], Width::Wide, Colour::Plain),
        listeners(&[listener(1, evil)], Width::Wide),
    ] {
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("a\\u{1b}[2J\\nb\\u{202e}(42)"), "{text:?}");
    }
}

#[test]
fn listeners_without_a_pod_name_their_netns() {
    let then = "\
PROTOCOL   PORT   ADDRESSES    POD           PROCESS   DECLARATION   TRAFFIC
TCP        80     0.0.0.0,::   netns cni-1   sh(42)    undeclared    none
";
    assert_eq!(listeners(&[listener(80, "sh")], Width::Narrow), then);
}

#[test]
fn an_empty_answer_says_so_and_what_to_do_next() {
    assert!(findings(&[], Width::Narrow, Colour::Plain).contains("`portolan listeners`"));
    assert!(listeners(&[], Width::Narrow).contains("`portolan status`"));
    assert!(connections(&[], Width::Narrow).contains("--record all"));
}

#[test]
fn a_listener_shows_who_serves_it() {
    let bare = Listener { process: None, ..listener(80, "") };
    let to = Endpoint { address: "172.17.0.2".to_owned(), port: 80 };
    let other = Process { pid: 43, name: "evil".to_owned(), executable: None };
    let served: Vec<String> = [
        Listener { served_by: "kernel".to_owned(), ..bare.clone() },
        Listener { served_by: "forwarded".to_owned(), forwarded_to: Some(to), ..bare.clone() },
        Listener { other_processes: vec![other], ..listener(80, "redis") },
        bare,
    ]
    .iter()
    .map(cells::server)
    .collect();
    assert_eq!(served, ["the kernel", "forwarded to 172.17.0.2:80", "redis(42) +1", "-"]);
}

#[test]
fn an_unproven_listener_is_shown_as_such() {
    let text = listeners(&[Listener { unproven: true, ..listener(40_000, "dig") }], Width::Narrow);
    assert!(text.contains("undeclared (unproven)"), "{text}");
}
