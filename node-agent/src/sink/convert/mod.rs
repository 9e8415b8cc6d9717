//! Converts engine types to wire types. All texts and lists are bounded here, so that an object is one short line whatever a
//! workload chose.

mod agent_identity;
mod explanation;
mod policy_basis;
pub mod workload_port;

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_engine::model::change::Change;
use portolan_engine::model::fingerprint::hex;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::reach::Reach;
use portolan_engine::model::{connection, finding, listener, pod, process, traffic};
use portolan_report::escape::bounded;
use portolan_report::wire::{self, Report, SCHEMA};

pub use agent_identity::AgentIdentity;

/// Maximum number of peers in an object, busiest first.
pub const MAX_PEERS: usize = 20;
/// Maximum number of addresses, declaring containers, explanations and policies in an object.
const MAX_LIST: usize = 16;
/// Maximum size of a name in bytes. Kubernetes names have at most 253.
const MAX_NAME: usize = 253;
/// Maximum size of a path or image in bytes.
const MAX_TEXT: usize = 512;
/// Maximum size of a message in bytes. The `note` of an Event has at most 1024.
const MAX_MESSAGE: usize = 1000;

/// Offset from the kernel's boot time to wall time, read by `source/clock.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Nanoseconds since 1970 at CLOCK_BOOTTIME 0.
    pub unix_ns_at_boot: i128,
}

impl Wall {
    /// Formats RFC 3339 UTC with milliseconds. Times outside of the calendar's range become the epoch.
    #[must_use]
    pub fn rfc3339(self, at: BootTime) -> String {
        let ns = self.unix_ns_at_boot.saturating_add(i128::from(at.0));
        let timestamp = Timestamp::from_nanosecond(ns).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{timestamp:.3}")
    }

    /// Returns the number of the minute since 1970.
    #[must_use]
    pub fn minute(self, at: BootTime) -> i64 {
        let ns = self.unix_ns_at_boot.saturating_add(i128::from(at.0));
        i64::try_from(ns.div_euclid(60_000_000_000)).unwrap_or_default()
    }

    /// Converts from wall-clock time; a time before boot becomes the time of boot.
    #[must_use]
    pub fn boot_time(self, at: Timestamp) -> BootTime {
        let since_boot = at.as_nanosecond().saturating_sub(self.unix_ns_at_boot);
        BootTime(u64::try_from(since_boot.max(0)).unwrap_or(u64::MAX))
    }
}

/// Converter of engine types for one agent, clock and time of writing.
#[derive(Clone, Debug)]
pub struct Converter {
    pub agent: AgentIdentity,
    pub wall: Wall,
    /// Time of writing, the `time` of envelopes.
    pub now: BootTime,
}

impl Converter {
    /// Converts a change. `None` for a request to a source.
    #[must_use]
    pub fn change(&self, change: &Change) -> Option<Report> {
        match change {
            Change::Listener(listener) => Some(Report::Listener(self.listener(listener))),
            Change::Finding(finding) => Some(Report::Finding(self.finding(finding))),
            Change::Connection(connection) => Some(Report::Connection(self.connection(connection))),
            Change::Loss(loss) => Some(Report::Loss(self.loss(loss.reason, loss.count, loss.recovered))),
            Change::Watch(_)
            | Change::Unwatch(_)
            | Change::Record { .. }
            | Change::Scan(_)
            | Change::ListConnections(_) => None,
        }
    }

    /// Returns the envelope of an object that is written now.
    #[must_use]
    pub fn envelope(&self) -> wire::Envelope {
        wire::Envelope {
            schema: SCHEMA.to_owned(),
            cluster: self.agent.cluster.as_deref().map(name),
            node: name(&self.agent.node),
            time: self.wall.rfc3339(self.now),
        }
    }

    /// Converts a finding.
    #[must_use]
    pub fn finding(&self, finding: &finding::Finding) -> wire::Finding {
        let pod = finding.pod.as_ref().map(pod_ref);
        wire::Finding {
            envelope: self.envelope(),
            id: name(&finding.id),
            fingerprint: workload_port::of_finding_in(finding, pod.as_ref(), &self.agent.node),
            state: finding.state.as_str().to_owned(),
            code: finding.code.as_str().to_owned(),
            severity: finding.code.severity().as_str().to_owned(),
            message: message(&finding.message),
            first_seen: self.wall.rfc3339(finding.first_seen),
            last_seen: self.wall.rfc3339(finding.last_seen),
            pod,
            container: finding.container.as_ref().map(container),
            protocol: finding.protocol.map(|protocol| protocol.as_str().to_owned()),
            port: finding.port.map(std::num::NonZeroU16::get),
            // The finding's own traffic is newer and lists the peers. The listener inside has only the sums.
            listener: finding.listener.as_deref().map(|inner| {
                let mut listener = self.listener(inner);
                listener.traffic.truncated |= !listener.traffic.peers.is_empty();
                listener.traffic.peers.clear();
                Box::new(listener)
            }),
            declaration: declaration(&finding.declaration),
            exposure: finding.exposure.as_str().to_owned(),
            policy: wire::Policy {
                verdict: finding.policy.verdict.as_str().to_owned(),
                policies: finding.policy.policies.iter().take(MAX_LIST).map(|policy| name(policy)).collect(),
            },
            traffic: self.traffic(&finding.traffic),
            suppressed_by: finding
                .suppressed_by
                .as_deref()
                .map(|by| wire::Suppression { rule: name(&by.rule), reason: text(&by.reason) }),
            changed_at: finding.changed_at.map(|at| self.wall.rfc3339(at)),
            previous_code: finding.previous_code.map(|code| code.as_str().to_owned()),
            former_fingerprint: None,
        }
    }

    /// Converts a listener.
    #[must_use]
    pub fn listener(&self, listener: &listener::Listener) -> wire::Listener {
        let pod = listener.pod.as_ref().map(pod_ref);
        wire::Listener {
            envelope: self.envelope(),
            id: name(&listener.id),
            fingerprint: workload_port::of_listener(listener, pod.as_ref(), &self.agent.node),
            protocol: listener.port.protocol.as_str().to_owned(),
            port: listener.port.port.get(),
            addresses: listener.addresses.iter().take(MAX_LIST).map(ToString::to_string).collect(),
            v6_only: listener.v6_only,
            sockets: listener.sockets,
            netns: wire::Netns {
                inode: listener.netns.inode,
                name: listener.netns.name.as_deref().map(name),
            },
            served_by: listener.served_by.as_str().to_owned(),
            process: listener.process.as_ref().map(process),
            other_processes: listener.other_processes.iter().take(MAX_LIST).map(process).collect(),
            forwarded_to: listener
                .forwarded_to
                .map(|(address, port)| wire::Endpoint { address: address.to_string(), port }),
            unproven: listener.unproven,
            opened_at: listener.opened_at.map(|at| self.wall.rfc3339(at)),
            state: match listener.state {
                listener::ListenerState::Open => "open",
                listener::ListenerState::Closed => "closed",
            }
            .to_owned(),
            pod,
            container: listener.container.as_ref().map(container),
            declaration: declaration(&listener.declaration),
            traffic: self.traffic(&listener.traffic),
        }
    }

    /// Converts a connection.
    #[must_use]
    pub fn connection(&self, connection: &connection::Connection) -> wire::Connection {
        wire::Connection {
            envelope: self.envelope(),
            id: hex(connection.listener_id),
            protocol: connection.port.protocol.as_str().to_owned(),
            local: wire::Endpoint { address: connection.local.to_string(), port: connection.port.port.get() },
            remote: wire::RemoteEndpoint {
                address: connection.remote.0.to_string(),
                port: connection.remote.1,
                origin: connection.origin.as_str().to_owned(),
                reference: connection.reference.as_deref().map(reference),
                via: connection.via.as_deref().map(via),
            },
            opened_at: self.wall.rfc3339(connection.opened_at),
            closed_at: connection.closed_at.map(|at| self.wall.rfc3339(at)),
            bytes_in: connection.bytes_in,
            bytes_out: connection.bytes_out,
            pod: connection.pod.as_deref().map(pod_ref),
        }
    }

    /// Returns the report of a loss.
    #[must_use]
    pub fn loss(&self, reason: &str, count: u64, recovered: bool) -> wire::Loss {
        wire::Loss { envelope: self.envelope(), reason: name(reason), count, recovered }
    }

    fn traffic(&self, traffic: &traffic::Traffic) -> wire::Traffic {
        self.traffic_of(traffic, MAX_PEERS)
    }

    /// Converts traffic, with at most `max_peers` peers, busiest first.
    fn traffic_of(&self, traffic: &traffic::Traffic, max_peers: usize) -> wire::Traffic {
        let mut busiest: Vec<&traffic::Peer> = traffic.peers.iter().collect();
        busiest.sort_by_key(|peer| Reverse((peer.bytes, peer.connections, peer.packets)));
        let earlier = Some(traffic.earlier).filter(|earlier| *earlier != Reach::Nothing);
        wire::Traffic {
            since: traffic.since.map(|at| self.wall.rfc3339(at)),
            called_earlier: earlier.map(|earlier| earlier.as_str().to_owned()),
            attempts: traffic.attempts,
            connections: traffic.connections,
            packets: traffic.packets,
            bytes: traffic.bytes,
            last_seen: traffic.last_seen.map(|at| self.wall.rfc3339(at)),
            truncated: traffic.truncated || busiest.len() > max_peers,
            peers: busiest.into_iter().take(max_peers).map(|peer| self.peer(peer)).collect(),
        }
    }

    fn peer(&self, peer: &traffic::Peer) -> wire::Peer {
        wire::Peer {
            address: peer.address.to_string(),
            origin: peer.origin.as_str().to_owned(),
            reference: peer.reference.as_deref().map(name),
            workload: None,
            caller_node: None,
            via: peer.via.as_deref().map(via),
            beyond_audience: peer.is_beyond_audience,
            connections: peer.connections,
            packets: peer.packets,
            bytes: peer.bytes,
            first_seen: self.wall.rfc3339(peer.first_seen),
            last_seen: self.wall.rfc3339(peer.last_seen),
        }
    }
}

/// Returns the name of a connection's peer as reports contain it.
#[must_use]
pub fn reference(pod: &str) -> String {
    text(pod)
}

/// Converts the dialled address of a connection.
#[must_use]
pub fn via(via: &traffic::Via) -> wire::Via {
    wire::Via {
        address: via.address.to_string(),
        port: via.port,
        kind: via.kind.as_str().to_owned(),
        reference: via.reference.as_deref().map(name),
        client: via.client.map(|client| client.to_string()),
    }
}

/// Converts the reference to a pod.
#[must_use]
pub fn pod_ref(pod: &pod::PodRef) -> wire::Pod {
    wire::Pod {
        namespace: name(&pod.namespace),
        name: name(&pod.name),
        uid: name(&pod.uid.0),
        workload: pod.workload.as_ref().map(workload),
        host_network: pod.host_network,
        labels: Some(Arc::clone(&pod.labels)),
    }
}

fn workload(workload: &pod::Workload) -> wire::Workload {
    wire::Workload { kind: name(&workload.kind), name: name(&workload.name) }
}

fn container(container: &pod::Container) -> wire::Container {
    let digest = Some(&container.image_digest).filter(|digest| !digest.is_empty());
    wire::Container {
        name: name(&container.name),
        id: name(&container.id),
        image: text(&container.image),
        image_digest: digest.map(|digest| name(digest)),
    }
}

fn process(process: &process::Process) -> wire::Process {
    wire::Process {
        pid: process.pid,
        name: name(&process.name),
        executable: process.executable.as_deref().map(text),
    }
}

pub(super) fn declaration(declaration: &listener::Declaration) -> wire::Declaration {
    wire::Declaration {
        status: declaration.status.as_str().to_owned(),
        declared_by: declaration.declared_by.iter().take(MAX_LIST).map(|by| name(by)).collect(),
        explained_by: declaration
            .explained_by
            .iter()
            .take(MAX_LIST)
            .map(|by| wire::Explanation {
                source: name(&by.source),
                reference: name(&by.reference),
                audience: by.audience.as_str().to_owned(),
            })
            .collect(),
    }
}

/// Bounds a name to [`MAX_NAME`].
pub(super) fn name(text: &str) -> String {
    bounded(text, MAX_NAME).0
}

/// Bounds a message to [`MAX_MESSAGE`]. A message that was cut ends with an ellipsis.
#[must_use]
pub fn message(text: &str) -> String {
    const ELLIPSIS: char = '…';
    match bounded(text, MAX_MESSAGE) {
        (whole, false) => whole,
        (_, true) => {
            let mut cut = bounded(text, MAX_MESSAGE - ELLIPSIS.len_utf8()).0;
            cut.push(ELLIPSIS);
            cut
        }
    }
}

/// Bounds a text to [`MAX_TEXT`].
pub(super) fn text(text: &str) -> String {
    bounded(text, MAX_TEXT).0
}
