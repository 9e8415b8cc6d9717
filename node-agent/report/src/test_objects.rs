//! Objects for the tests of tables.

use crate::wire::{Declaration, Envelope, Finding, Listener, Netns, Peer, Pod, Policy, Process, Traffic};

pub(crate) fn envelope() -> Envelope {
    Envelope {
        schema: "portolan/v1".to_owned(),
        cluster: None,
        node: "n1".to_owned(),
        time: "2026-03-04T12:00:00.000Z".to_owned(),
    }
}

pub(crate) fn listener(port: u16, process: &str) -> Listener {
    Listener {
        envelope: envelope(),
        id: format!("id-{port}"),
        fingerprint: String::new(),
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

pub(crate) fn finding(port: u16, severity: &str, process: &str) -> Finding {
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
        fingerprint: String::new(),
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
        changed_at: None,
        previous_code: None,
        former_fingerprint: None,
    }
}
