//! One sentence per finding: what it is and what to do next. Names that a pod chose are bounded and escaped.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::model::families::Families;
use crate::model::finding_code::FindingCode;
use crate::model::identity::Protocol;
use crate::model::listener::{Audience, DeclarationStatus, Exposure, Listener, ServedBy};
use crate::model::netns::NetnsRef;
use crate::model::pod::{Pod, PodRef};
use crate::model::policy::{Policy, PolicyVerdict};
use crate::model::process::Process;
use crate::model::reach::Reach;
use crate::model::traffic::{Origin, Peer, Via, ViaKind};
use crate::read::advice::{self, Advice};
use crate::read::plain_text::escape;
use crate::rules::expectations::MissingName;
use crate::rules::manifests::Manifests;
use crate::state::unserved::Refusal;

/// Maximum length of a name in a sentence, in characters.
const MAX_NAME: usize = 80;

/// What is said of a port whose callers only an earlier run of the agent saw.
const CALLED_EARLIER: &str = "it was called before the agent started";

/// Returns a name that is safe to print: bounded, and escaped.
#[must_use]
pub(crate) fn safe(name: &str) -> String {
    let first: String = name.chars().take(MAX_NAME).collect();
    let mut shown = escape(&first);
    if first.len() < name.len() {
        shown.push('…');
    }
    shown
}

/// Returns a process's name that is safe to print. A process may have taken its name away.
#[must_use]
pub(crate) fn process_name(process: &Process) -> String {
    if process.name.trim().is_empty() {
        return format!("a process without a name (pid {})", process.pid);
    }
    safe(&process.name)
}

/// Returns the sentence for a finding about a listener. `other_pod`: the pod of the process, if that is not the pod of the
/// port.
#[must_use]
pub(crate) fn listener(
    code: FindingCode,
    listener: &Listener,
    policy: &Policy,
    other_pod: Option<&str>,
) -> String {
    let what =
        format!("port {}/{} is {}", listener.port.port, listener.port.protocol, served(listener, other_pod));
    let Some(pod) = &listener.pod else {
        let netns = listener.netns.name.as_deref().map_or_else(|| listener.netns.inode.to_string(), safe);
        return format!(
            "{what} in netns {netns}, which belongs to no known pod: check that the pod sources see everything on this node"
        );
    };
    let likely = likely(listener);
    let on_node = format!("{what} but not declared by pod {}", name(pod));
    let undeclared = format!("{on_node}{likely}");
    match code {
        FindingCode::UndeclaredExternal | FindingCode::UndeclaredActive => {
            format!("{undeclared}; {}{}", explained_to_others(listener), called(code, listener, policy))
        }
        FindingCode::UndeclaredHost => {
            format!(
                "{on_node}, on the node's own network{likely}: declare it as hostPort or bind it to loopback"
            )
        }
        FindingCode::EphemeralContainer => format!(
            "{what}, opened by a debug container in pod {}{likely}: end the debug session or close it",
            name(pod)
        ),
        FindingCode::UndeclaredLoopback if pod.host_network => format!(
            "{undeclared}; every process of the node and every pod in the node's network can reach it on loopback: \
             nothing to do unless it is unknown to you"
        ),
        FindingCode::UndeclaredLoopback => format!(
            "{undeclared}; only its own containers can reach it on loopback: nothing to do unless it is unknown to you"
        ),
        FindingCode::UndeclaredBlocked => format!(
            "{undeclared}; {} keeps everybody out: {}",
            policies(policy),
            Advice::of(listener).close_or_admit()
        ),
        FindingCode::UndeclaredExplained => {
            let against = if policy.verdict == PolicyVerdict::Blocked && is_called_by_others(listener) {
                format!(
                    ", although {} admits nobody (policy says blocked, connection seen)",
                    policies(policy)
                )
            } else {
                String::new()
            };
            format!("{undeclared}; {}{against}: {}", explained(listener), advice::of_expected(listener))
        }
        _ => {
            format!("{undeclared}; {}: {}", reachable(policy), Advice::of(listener).declare_or_close())
        }
    }
}

/// Returns by whom a port is served, or where it is forwarded to.
fn served(listener: &Listener, other_pod: Option<&str>) -> String {
    if let Some((address, port)) = listener.forwarded_to {
        return format!("forwarded to {}", SocketAddr::new(address, port));
    }
    let process = listener.process.as_ref();
    let who = match listener.served_by {
        ServedBy::Kernel => "the kernel".to_owned(),
        _ => process.map_or_else(|| "an unknown process".to_owned(), process_name),
    };
    let pod = other_pod.map(|pod| format!(" of pod {}", safe(pod))).unwrap_or_default();
    let beside = match listener.other_processes.as_slice() {
        [] => String::new(),
        [one] => format!(", beside {}", process_name(one)),
        [one, rest @ ..] => format!(", beside {} and {} more", process_name(one), rest.len()),
    };
    format!("served by {who}{pod}{beside}")
}

/// Returns what the port likely is, by number and process; empty if nothing is known about such a port.
fn likely(listener: &Listener) -> String {
    advice::likely(listener).map(|found| format!("; {found}")).unwrap_or_default()
}

/// Returns to whom an explained port is explained, for a sentence that goes on with somebody else. Empty for other ports.
fn explained_to_others(listener: &Listener) -> String {
    let all = listener.declaration.explained_by.as_slice();
    // Of several that explain it to the same callers, the first stands for the others.
    let Some(why) = all.iter().rev().max_by_key(|why| why.audience) else { return String::new() };
    let subject = match why.source.as_str() {
        "probe" | "lifecycle" => safe(&why.reference),
        "service" => format!("Service {}", safe(&why.reference)),
        "annotation" => format!("annotation {}", safe(&why.reference)),
        "mesh" => format!("mesh {}", safe(&why.reference)),
        _ => format!("NetworkPolicy {}", safe(&why.reference)),
    };
    let whom = match why.audience {
        Audience::Node => "kubelet",
        Audience::Listed => "those whom it admits",
        Audience::Pods => "pods of the cluster",
        Audience::Everybody => "everybody",
    };
    let more = match all.len() {
        0 | 1 => String::new(),
        2 => " (1 more explains it)".to_owned(),
        many => format!(" ({} more explain it)", many - 1),
    };
    format!("{subject} explains it to {whom}{more}, but ")
}

/// Returns who called, and what to do; of an explained port, who called beyond its audience. Mentions a policy that should
/// have blocked the call.
fn called(code: FindingCode, listener: &Listener, policy: &Policy) -> String {
    let earlier = listener.traffic.earlier;
    let is_explained = listener.declaration.status == DeclarationStatus::Explained;
    let counts = |peer: &Peer| peer.is_beyond_audience || !is_explained;
    let in_cluster = |peer: &Peer| counts(peer) && matches!(peer.origin, Origin::Pod | Origin::Service);
    let is_outside = |peer: &Peer| counts(peer) && peer.origin == Origin::External;
    let by_public =
        |peer: &Peer| in_cluster(peer) && peer.via.as_ref().is_some_and(|via| via.kind.is_public());
    let on_node = listener.exposure == Exposure::Host;
    let (who, advice) = match code {
        FindingCode::UndeclaredActive => {
            (busiest(listener, in_cluster), Advice::of(listener).declare_or_close())
        }
        _ if listener.traffic.peers.iter().any(is_outside) => (
            format!("{} from outside the cluster", busiest(listener, is_outside)),
            Advice::of(listener).close_or_restrict(),
        ),
        _ if earlier == Reach::External => {
            (format!("{CALLED_EARLIER} from outside the cluster"), Advice::of(listener).close_or_restrict())
        }
        _ if earlier == Reach::Published || listener.traffic.peers.iter().any(by_public) => (
            format!("{}, where callers from outside come in too", busiest(listener, by_public)),
            Advice::of(listener).close_or_restrict(),
        ),
        _ if !on_node && (listener.traffic.truncated || !listener.traffic.peers.iter().any(in_cluster)) => (
            "callers that are not listed any more came from outside the cluster".to_owned(),
            Advice::of(listener).close_or_restrict(),
        ),
        _ => (
            format!("{} through the node's own address", busiest(listener, in_cluster)),
            Advice::of_published(listener).close_or_restrict(),
        ),
    };
    match policy.verdict {
        PolicyVerdict::Blocked => format!(
            "{who} although {} admits nobody (policy says blocked, connection seen): {advice}, and check that the \
             network plugin enforces policies",
            policies(policy)
        ),
        _ => format!("{who}: {advice}"),
    }
}

/// Returns who can call the port.
fn reachable(policy: &Policy) -> String {
    match policy.verdict {
        PolicyVerdict::NotIsolated => {
            "no NetworkPolicy isolates the pod, so every pod can call it".to_owned()
        }
        PolicyVerdict::Open => format!("{} admits callers to it", policies(policy)),
        PolicyVerdict::Blocked | PolicyVerdict::Unknown => {
            "every pod that policy admits can call it".to_owned()
        }
    }
}

/// Names the policies of a verdict.
fn policies(policy: &Policy) -> String {
    let Some((first, others)) = policy.policies.split_first() else { return "NetworkPolicy".to_owned() };
    match others.len() + policy.unnamed {
        0 => format!("NetworkPolicy {}", safe(first)),
        more => format!("NetworkPolicy {} with {more} more", safe(first)),
    }
}

/// True if somebody called whom a policy could have kept out.
fn is_called_by_others(listener: &Listener) -> bool {
    let mut peers = listener.traffic.peers.iter();
    peers.any(|peer| !matches!(peer.origin, Origin::SamePod | Origin::Node))
}

/// Returns why the port is expected; the first reason stands for the others.
fn explained(listener: &Listener) -> String {
    let all = &listener.declaration.explained_by;
    let Some(why) = all.first() else { return "it is expected".to_owned() };
    let subject = safe(&why.reference);
    let why = match why.source.as_str() {
        "probe" | "lifecycle" => format!("{subject} calls it"),
        "service" => format!("Service {subject} sends traffic to it"),
        "health-check" => format!("load balancers ask it about Service {subject}"),
        "annotation" => format!("annotation {subject} names it"),
        "mesh" => format!("it belongs to mesh {subject}"),
        _ => format!("NetworkPolicy {subject} admits it"),
    };
    if all.len() > 1 { format!("{why} ({} more explain it)", all.len() - 1) } else { why }
}

/// Returns the sentence for a declared port that nothing serves.
#[must_use]
pub(crate) fn stale(pod: &PodRef, protocol: Protocol, port: u16) -> String {
    format!(
        "port {port}/{protocol} is declared by pod {} but nothing listens on it: remove the declaration or fix the process",
        name(pod)
    )
}

/// Returns the sentence for a port that a Service sends to and nothing serves.
#[must_use]
pub(crate) fn dangling(
    manifests: Manifests<'_>,
    protocol: Protocol,
    port: NonZeroU16,
    (refusal, families): (Refusal, Families),
) -> String {
    let pod = format!("{}/{}", safe(&manifests.pod.namespace), safe(&manifests.pod.name));
    let is_ready = manifests.pod.is_service_ready();
    let sending = manifests.services.iter().filter(|(service, _)| is_ready || service.publishes_not_ready);
    let sending = sending.filter(|(service, _)| {
        let mut ports = service.ports.iter().filter(|entry| entry.protocol == protocol);
        ports.any(|entry| entry.target_in(manifests.pod) == Some(port))
    });
    let services: Vec<String> = sending.map(|(service, _)| safe(&service.name)).collect();
    let who = match services.as_slice() {
        [] => "a Service sends".to_owned(),
        [one] => format!("Service {one} sends"),
        [one, rest @ ..] => format!("Service {one} with {} more sends", rest.len()),
    };
    let family = match (families.v4, families.v6) {
        (true, false) => "IPv4 ",
        (false, true) => "IPv6 ",
        _ => "",
    };
    let but = match refusal {
        Refusal::Nobody => {
            "but nothing listens on it: correct the Service's targetPort or its selector, or start the \
                            process"
                .to_owned()
        }
        Refusal::Loopback => {
            "but the process listens on loopback only, so callers are refused: let it listen on the \
                              pod's address, or correct the Service's targetPort"
                .to_owned()
        }
        Refusal::Elsewhere => format!(
            "but the process takes no {family}calls to the pod's address, so callers are refused: let it listen on all \
             addresses of the family in which the Service sends"
        ),
    };
    format!("{who} traffic to port {port}/{protocol} of pod {pod} {but}")
}

/// Returns the sentence for a named target of a Service that no container declares.
#[must_use]
pub(crate) fn missing_name(pod: &Pod, missing: &MissingName) -> String {
    let MissingName { namespace, service, port, protocol, name, declared_for } = missing;
    let but = declared_for
        .map(|other| format!(" for {protocol}: it is declared for {other} only"))
        .unwrap_or_default();
    format!(
        "Service {}/{} sends port {port} to the named port \"{}\", which no container of pod {}/{} declares{but}; no other \
         pod of the Service on this node does either, so nothing is sent there: name the port in the container's ports, or \
         correct the Service's targetPort",
        safe(namespace),
        safe(service),
        safe(name),
        safe(&pod.namespace),
        safe(&pod.name)
    )
}

/// Returns the sentence for a pod whose sockets this kernel does not see.
#[must_use]
pub(crate) fn opaque(pod: &Pod) -> String {
    format!(
        "pod {}/{} runs in a sandbox of runtime {}, whose sockets this node's kernel does not see: its ports are not \
         judged, which is not a pass; restrict it by a NetworkPolicy, or look from within",
        safe(&pod.namespace),
        safe(&pod.name),
        pod.opaque_runtime.as_deref().map_or_else(|| "unknown".to_owned(), safe)
    )
}

/// Returns the sentence for a pod with too many undeclared ports.
#[must_use]
pub(crate) fn pod_storm(pod: &PodRef, ports: usize) -> String {
    format!("pod {} serves {ports} undeclared ports: look at what runs in it before anything else", name(pod))
}

/// Returns the sentence for a pod with very many undeclared ports that are expected, blocked or on loopback.
#[must_use]
pub(crate) fn quiet_storm(pod: &PodRef, ports: usize) -> String {
    format!(
        "pod {} serves {ports} undeclared ports that are on loopback, blocked by policy or expected by something: one finding \
         stands for all of them; look at what runs in it",
        name(pod)
    )
}

/// Returns the sentence for a netns without a pod that serves too many ports.
#[must_use]
pub(crate) fn netns_storm(netns: &NetnsRef, ports: usize) -> String {
    let netns = netns.name.as_deref().map_or_else(|| netns.inode.to_string(), safe);
    format!(
        "{ports} ports are served in netns {netns}, which belongs to no known pod: check that the pod sources see everything on this node"
    )
}

/// Formats a pod as `NAMESPACE/NAME`, safe to print.
fn name(pod: &PodRef) -> String {
    format!("{}/{}", safe(&pod.namespace), safe(&pod.name))
}

/// Returns the busiest of the wanted peers, and what it did since the counts began.
fn busiest(listener: &Listener, wanted: impl Fn(&Peer) -> bool) -> String {
    let traffic = &listener.traffic;
    let mut peers = traffic.peers.iter().filter(|peer| wanted(peer));
    let Some(peer) = peers.next() else {
        return match traffic.earlier {
            Reach::Nothing | Reach::Node => "it was called".to_owned(),
            Reach::InCluster | Reach::External => CALLED_EARLIER.to_owned(),
            Reach::Published => format!("{CALLED_EARLIER} through an address of the node or of a Service"),
        };
    };
    // The addresses of one pod are one caller.
    let (same, more): (Vec<&Peer>, Vec<&Peer>) =
        peers.partition(|other| other.reference.is_some() && other.reference == peer.reference);
    let more: BTreeSet<(Option<&str>, Option<IpAddr>)> = more.into_iter().map(who).collect();
    let others = match more.len() {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        more => format!(" and {more} others"),
    };
    let via = peer.via.as_deref().map(dialled_through).unwrap_or_default();
    // A port whose opening the agent saw is counted from its first call.
    let since = if listener.opened_at.is_some() { "" } else { " since the agent began to count" };
    let all = std::iter::once(peer).chain(same);
    format!("{}{others} {}{since}{via}", caller(peer), activity(all, listener.port.protocol))
}

/// Returns what tells a caller from another: its pod, else its address.
fn who(peer: &Peer) -> (Option<&str>, Option<IpAddr>) {
    let reference = peer.reference.as_deref();
    (reference, reference.is_none().then_some(peer.address))
}

/// Names a peer by its pod and its own address.
fn caller(peer: &Peer) -> String {
    let address = peer.via.as_ref().and_then(|via| via.client).unwrap_or(peer.address);
    match &peer.reference {
        Some(reference) => format!("{} ({address})", safe(reference)),
        None => address.to_string(),
    }
}

/// Returns the dialled address with what it belongs to.
fn dialled_through(via: &Via) -> String {
    let dialled = SocketAddr::new(via.address, via.port);
    let service = via.reference.as_deref().map(safe);
    match (via.kind, service) {
        (ViaKind::NodePort, Some(service)) => format!(" through NodePort {dialled} of Service {service}"),
        (ViaKind::HostPort, _) => format!(" through hostPort {dialled}"),
        (ViaKind::Proxy, _) => format!(" through the pod's own proxy on port {}", via.port),
        (ViaKind::Forwarded, _) => String::new(),
        (_, Some(service)) => format!(" through Service {service} ({dialled})"),
        (ViaKind::NodeAddress, None) => format!(" through the node's {dialled}"),
        (_, None) => format!(" through {dialled}"),
    }
}

/// Returns how often a caller connected, or how many datagrams it sent.
fn activity<'a>(peers: impl Iterator<Item = &'a Peer>, protocol: Protocol) -> String {
    let sum = |of: fn(&Peer) -> u64| peers.map(of).fold(0, u64::saturating_add);
    let (count, one, many) = match protocol {
        Protocol::Udp => (sum(|peer| peer.packets), "sent 1 datagram", "datagrams"),
        _ => (sum(|peer| peer.connections), "connected once", "times"),
    };
    match (count, protocol) {
        (1, _) => one.to_owned(),
        (count, Protocol::Udp) => format!("sent {count} {many}"),
        (count, _) => format!("connected {count} {many}"),
    }
}
