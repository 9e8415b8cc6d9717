//! One sentence per finding: what it is and what to do next. Names that a pod chose are bounded and lose every character
//! that could steer a terminal or turn the text around.

use super::change::{FindingCode, Listener, NetnsRef, Origin, Peer, PodRef, Traffic};
use super::identity::Protocol;

/// Longest name that is shown.
const MAX_NAME: usize = 80;

/// A name that is safe to show: bounded, without control characters and bidirectional marks.
#[must_use]
pub fn safe(name: &str) -> String {
    let clean = |c: char| if c.is_control() || turns_text(c) { '\u{fffd}' } else { c };
    let mut shown: String = name.chars().take(MAX_NAME).map(clean).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        shown.push('…');
    }
    shown
}

const fn turns_text(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The sentence for a finding about a listener.
#[must_use]
pub fn listener(code: FindingCode, listener: &Listener) -> String {
    let who = listener.process.as_ref().map_or_else(|| "an unknown process".to_owned(), |p| safe(&p.name));
    let what = format!("port {}/{} is served by {who}", listener.port.port, listener.port.protocol);
    let Some(pod) = &listener.pod else {
        let netns = listener.netns.name.as_deref().map_or_else(|| listener.netns.inode.to_string(), safe);
        return format!(
            "{what} in netns {netns}, which belongs to no known pod: check that the pod sources see everything on this node"
        );
    };
    let undeclared = format!("{what} but not declared by pod {}", name(pod));
    match code {
        FindingCode::UndeclaredExternal => format!(
            "{undeclared}; {} from outside the cluster: close it or declare it in containerPort and restrict who may call it",
            busiest(&listener.traffic, listener.port.protocol, |origin| origin == Origin::External)
        ),
        FindingCode::UndeclaredActive => format!(
            "{undeclared}; {}: declare it in containerPort or close it",
            busiest(&listener.traffic, listener.port.protocol, |o| matches!(
                o,
                Origin::Pod | Origin::Service
            ))
        ),
        FindingCode::UndeclaredHost => {
            format!("{undeclared}, on the node's own network: declare it as hostPort or bind it to loopback")
        }
        FindingCode::EphemeralContainer => {
            format!(
                "{what}, opened by a debug container in pod {}: end the debug session or close it",
                name(pod)
            )
        }
        FindingCode::UndeclaredLoopback => format!(
            "{undeclared}; only its own containers can reach it on loopback: nothing to do unless it is unknown to you"
        ),
        _ => format!(
            "{undeclared}; every pod that policy admits can call it: declare it in containerPort or close it"
        ),
    }
}

/// The sentence for a declared port that nobody serves.
#[must_use]
pub fn stale(pod: &PodRef, protocol: Protocol, port: u16) -> String {
    format!(
        "port {port}/{protocol} is declared by pod {} but nothing listens on it: remove the declaration or fix the process",
        name(pod)
    )
}

/// The sentence for a pod with too many undeclared ports.
#[must_use]
pub fn storm(pod: &PodRef, ports: usize) -> String {
    format!("pod {} serves {ports} undeclared ports: look at what runs in it before anything else", name(pod))
}

/// The sentence for a netns without a pod that serves too many ports.
#[must_use]
pub fn crowd(netns: &NetnsRef, ports: usize) -> String {
    let netns = netns.name.as_deref().map_or_else(|| netns.inode.to_string(), safe);
    format!(
        "{ports} ports are served in netns {netns}, which belongs to no known pod: check that the pod sources see everything on this node"
    )
}

fn name(pod: &PodRef) -> String {
    format!("{}/{}", safe(&pod.namespace), safe(&pod.name))
}

/// The busiest peer of those origins, and what it did.
fn busiest(traffic: &Traffic, protocol: Protocol, wanted: impl Fn(Origin) -> bool) -> String {
    let Some(peer) = traffic.peers.iter().find(|peer| wanted(peer.origin)) else {
        return "it was called".to_owned();
    };
    let more = traffic.peers.iter().filter(|peer| wanted(peer.origin)).count().saturating_sub(1);
    let others = match more {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        more => format!(" and {more} others"),
    };
    format!("{}{others} {}", caller(peer), deed(peer, protocol))
}

fn caller(peer: &Peer) -> String {
    match &peer.reference {
        Some(reference) => format!("{} ({})", safe(reference), peer.address),
        None => peer.address.to_string(),
    }
}

fn deed(peer: &Peer, protocol: Protocol) -> String {
    let (count, one, many) = match protocol {
        Protocol::Udp => (peer.packets, "sent 1 datagram", "datagrams"),
        _ => (peer.connections, "connected once", "times"),
    };
    match (count, protocol) {
        (1, _) => one.to_owned(),
        (count, Protocol::Udp) => format!("sent {count} {many}"),
        (count, _) => format!("connected {count} {many}"),
    }
}
