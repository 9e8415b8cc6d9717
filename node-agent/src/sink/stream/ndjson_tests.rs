//! A line is one short line even if a pod chose all its texts.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use portolan_engine::model::finding::{Finding, FindingState, Suppression};
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol};
use portolan_engine::model::listener::{
    Audience, Declaration, DeclarationStatus, Explanation, Exposure, Listener as Served, ListenerState,
    ServedBy,
};
use portolan_engine::model::netns::NetnsRef;
use portolan_engine::model::pod::{Container, ContainerKind, PodRef, Workload};
use portolan_engine::model::policy::{Policy, PolicyVerdict};
use portolan_engine::model::process::Process;
use portolan_engine::model::traffic::{Origin, Peer, Traffic as Counted, Via, ViaKind};
use portolan_report::wire::Report;

use super::*;
use crate::sink::convert::{Converter, Wall};

/// An id as the engine writes it.
const ID: &str = "0123456789abcdef";

fn converter(name: &str) -> Converter {
    Converter { agent: name.into(), wall: Wall { unix_ns_at_boot: 0 }, now: BootTime(1) }
}

fn overfull_declaration(name: &str) -> Declaration {
    let explanation =
        Explanation { source: name.to_owned(), reference: name.to_owned(), audience: Audience::Everybody };
    Declaration {
        status: DeclarationStatus::Undeclared,
        declared_by: vec![name.to_owned(); 100],
        explained_by: vec![explanation; 100],
    }
}

/// Returns a listener in which every text is `name`, and every list is long.
fn overfull(name: &str) -> Served {
    let some = || name.to_owned();
    let process = || Process { pid: u32::MAX, name: some(), executable: Some(some()), cgroup: None };
    let peer = |n: u16| Peer {
        address: IpAddr::V6(Ipv6Addr::new(0xfd00, n, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff)),
        origin: Origin::External,
        reference: Some(some()),
        via: Some(Arc::new(Via {
            address: IpAddr::V6(Ipv6Addr::from([0xff; 16])),
            port: u16::MAX,
            kind: ViaKind::LoadBalancer,
            reference: Some(some()),
            client: Some(IpAddr::V6(Ipv6Addr::from([0xff; 16]))),
        })),
        is_beyond_audience: true,
        connections: u64::MAX,
        packets: u64::MAX,
        bytes: u64::MAX,
        first_seen: BootTime(1),
        last_seen: BootTime(1),
    };
    Served {
        id: ID.to_owned(),
        port: PortId { netns: NetnsId(1), protocol: Protocol::Sctp, port: NonZeroU16::MAX },
        addresses: (0..500).map(|n| peer(n).address).collect(),
        v6_only: false,
        sockets: usize::MAX,
        netns: NetnsRef { inode: u64::MAX, name: Some(some()) },
        served_by: ServedBy::Process,
        other_processes: vec![process(); 16],
        forwarded_to: None,
        unproven: false,
        in_storm: false,
        process: Some(process()),
        opened_at: Some(BootTime(1)),
        state: ListenerState::Open,
        pod: Some(PodRef {
            namespace: some(),
            name: some(),
            uid: PodUid(some()),
            workload: Some(Workload { kind: some(), name: some() }),
            host_network: false,
            labels: Arc::default(),
            sole_container: None,
        }),
        container: Some(Container {
            name: some(),
            id: some(),
            image: some(),
            image_digest: some(),
            kind: ContainerKind::Regular,
            ..Container::default()
        }),
        declaration: overfull_declaration(name),
        exposure: Exposure::Pod,
        traffic: Counted { peers: (0..500).map(peer).collect(), ..Counted::default() },
    }
}

fn overfull_finding(name: &str) -> Finding {
    let listener = overfull(name);
    Finding {
        id: ID.to_owned(),
        state: FindingState::Suppressed,
        suppressed_by: Some(Arc::new(Suppression { rule: name.to_owned(), reason: name.to_owned() })),
        changed_at: None,
        previous_code: None,
        code: FindingCode::UndeclaredExternal,
        message: name.to_owned(),
        first_seen: BootTime(1),
        last_seen: BootTime(1),
        pod: listener.pod.clone(),
        container: listener.container.clone(),
        protocol: Some(Protocol::Sctp),
        port: Some(listener.port.port),
        declaration: listener.declaration.clone(),
        exposure: Exposure::Pod,
        policy: Policy {
            verdict: PolicyVerdict::NotIsolated,
            policies: vec![name.to_owned(); 100],
            unnamed: 0,
        },
        traffic: listener.traffic.clone(),
        opened_at: None,
        listener: Some(Arc::new(listener)),
    }
}

#[test]
fn whatever_is_chosen_a_line_is_short_and_says_that_it_was_cut() {
    for part in ["x", "\u{1}", "\"", "\u{1f980}", "\n"] {
        let name = part.repeat(5000);
        let convert = converter(&name);
        for report in [
            Report::Listener(convert.listener(&overfull(&name))),
            Report::Finding(convert.finding(&overfull_finding(&name))),
        ] {
            let line = ndjson(&report).expect("a line");
            assert!(line.len() < MAX_LINE, "{} bytes", line.len());
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let json: serde_json::Value = serde_json::from_slice(&line).expect("json");
            assert_eq!(json.pointer("/traffic/truncated"), Some(&serde_json::Value::Bool(true)));
        }
    }
}

#[test]
fn common_lines_are_left_whole() {
    let convert = converter("node-1");
    let mut finding = overfull_finding("shop");
    finding.traffic.peers.truncate(3);
    finding.declaration.declared_by.truncate(3);
    let mut whole = convert.finding(&finding);
    // Labels serve filters and are never written.
    let listener = whole.listener.as_deref_mut().and_then(|listener| listener.pod.as_mut());
    for pod in whole.pod.iter_mut().chain(listener) {
        pod.labels = None;
    }
    let report = Report::Finding(whole);
    let line = ndjson(&report).expect("a line");
    assert_eq!(serde_json::from_slice::<Report>(&line).expect("json"), report);
}
