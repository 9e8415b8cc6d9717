//! What the engine says happened: for people (listener, finding, connection, loss) and for the kernel side (which ports
//! to count and to record).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::finding_code::FindingCode;
use super::identity::{BootTime, PodUid, PortId, Protocol};
use super::input::Process;
use super::pod::{Container, Workload};

/// One change of the engine's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Listener(Arc<Listener>),
    Finding(Arc<Finding>),
    Connection(Arc<Connection>),
    Loss(Loss),
    /// Count this port's traffic from now on (idempotent).
    Watch(PortId),
    /// Count this port's traffic no more (idempotent): nothing serves it and its last traffic was taken in, or it is not
    /// kept. Also for ports that were never watched, since the kernel counts a port from the moment it opens.
    Unwatch(PortId),
    /// Turn the recording of single connections of this port on or off.
    Record {
        port: PortId,
        on: bool,
    },
}

/// A pod, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: PodUid,
    pub workload: Option<Workload>,
    pub host_network: bool,
    /// For filters; not reported.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// A netns, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsRef {
    pub inode: u64,
    /// Last part of its path; `None` where only processes hold it.
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerState {
    Open,
    Closed,
}

/// A port that is served, by one socket or by many.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Stable: derived from pod UID (or netns cookie), protocol and port.
    pub id: String,
    pub port: PortId,
    /// Every address that a socket of it is bound to, sorted.
    pub addresses: Vec<IpAddr>,
    /// Every IPv6 socket of it refuses IPv4.
    pub v6_only: bool,
    /// How many sockets serve it.
    pub sockets: usize,
    pub netns: NetnsRef,
    pub process: Option<Process>,
    /// `None`: older than the agent.
    pub opened_at: Option<BootTime>,
    pub state: ListenerState,
    pub pod: Option<PodRef>,
    pub container: Option<Container>,
    pub declaration: Declaration,
    pub exposure: Exposure,
    pub traffic: Traffic,
}

/// What the manifests say about a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub status: DeclarationStatus,
    /// Who declares it: `container/NAME`.
    pub declared_by: Vec<String>,
    pub explained_by: Vec<Explanation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeclarationStatus {
    Declared,
    Explained,
    Undeclared,
    /// No pod is known for it.
    Unknown,
}

impl DeclarationStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Explained => "explained",
            Self::Undeclared => "undeclared",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a port that is not declared is expected nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub source: String,
    pub reference: String,
}

/// From where a socket can be reached by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    Loopback,
    Pod,
    Host,
}

impl Exposure {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Pod => "pod",
            Self::Host => "host",
        }
    }
}

/// What NetworkPolicies say of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub verdict: PolicyVerdict,
    /// `NAMESPACE/NAME` of those that make it so, sorted.
    pub policies: Vec<String>,
}

/// Whether NetworkPolicies let anybody reach a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyVerdict {
    /// The pod is isolated, and a rule admits the port from somewhere.
    Open,
    /// The pod is isolated, and no rule admits the port.
    Blocked,
    /// No policy selects the pod: everybody may call it.
    NotIsolated,
    /// The policies are not known, or do not govern this pod.
    #[default]
    Unknown,
}

impl PolicyVerdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
            Self::NotIsolated => "not-isolated",
            Self::Unknown => "unknown",
        }
    }
}

/// Traffic of a port since it opened (or since the agent started).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: Option<BootTime>,
    /// Busiest first.
    pub peers: Vec<Peer>,
    /// Some peers are not listed: the table or the kernel's LRU was full.
    pub truncated: bool,
}

/// Who sent traffic to a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub address: IpAddr,
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the pod, where known.
    pub reference: Option<String>,
    /// What it dialled, where connection tracking shows that it was not the pod's own address.
    pub via: Option<Arc<Via>>,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub first_seen: BootTime,
    pub last_seen: BootTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    SamePod,
    Node,
    Pod,
    Service,
    External,
}

impl Origin {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SamePod => "same-pod",
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::External => "external",
        }
    }
}

/// The address that a client really dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    pub address: IpAddr,
    pub port: u16,
    pub door: Door,
    /// `NAMESPACE/NAME` of the Service, where known.
    pub reference: Option<String>,
    /// The client's own address, where the pod saw another.
    pub client: Option<IpAddr>,
}

/// Whose an address is that leads to a pod; ordered by how far those may be who dial it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// No known Service's, and not the node's.
    Unknown,
    ClusterIp,
    /// The node's, by a rule that belongs to no known Service or hostPort.
    NodeAddress,
    HostPort,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

impl Door {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ClusterIp => "cluster-ip",
            Self::NodeAddress => "node-address",
            Self::HostPort => "host-port",
            Self::NodePort => "node-port",
            Self::ExternalIp => "external-ip",
            Self::LoadBalancer => "load-balancer",
        }
    }

    /// Who is outside the cluster can dial it as well.
    #[must_use]
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Unknown | Self::ClusterIp)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingState {
    Open,
    Suppressed,
    Resolved,
}

impl FindingState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Suppressed => "suppressed",
            Self::Resolved => "resolved",
        }
    }
}

/// The exception that keeps a finding from being open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Name of the rule.
    pub rule: String,
    pub reason: String,
}

/// A port that is not as its manifest says.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Same as its listener's id, or derived alike where there is none.
    pub id: String,
    pub state: FindingState,
    pub code: FindingCode,
    /// One sentence: what, and what to do next.
    pub message: String,
    pub first_seen: BootTime,
    pub last_seen: BootTime,
    pub pod: Option<PodRef>,
    pub container: Option<Container>,
    /// `None` where the finding is about a pod, or about a port that nobody serves.
    pub listener: Option<Arc<Listener>>,
    /// The port that it is about, which for a stale declaration no listener tells; `None` for a port storm.
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
    pub declaration: Declaration,
    pub exposure: Exposure,
    pub policy: Policy,
    pub traffic: Traffic,
    /// Also of one that was resolved, if it was suppressed until then.
    pub suppressed_by: Option<Arc<Suppression>>,
    /// When the socket opened, where that is known and this is the first that is told of the finding; for the latency
    /// metric. Not reported.
    pub opened_at: Option<BootTime>,
}

/// One connection on a recorded port.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// As [`Listener::id`], before it is written as text.
    pub listener_id: u64,
    pub port: PortId,
    pub local: IpAddr,
    pub remote: (IpAddr, u16),
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the pod that connected, where known.
    pub reference: Option<Arc<str>>,
    /// What it dialled, where that was not the pod's own address.
    pub via: Option<Arc<Via>>,
    pub opened_at: BootTime,
    /// `None`: still open.
    pub closed_at: Option<BootTime>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub pod: Option<Arc<PodRef>>,
}

/// Something was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub reason: &'static str,
    pub count: u64,
    pub recovered: bool,
}
