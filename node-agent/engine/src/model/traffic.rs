//! Traffic of a port: the growth that each drain reports, and the totals and peers that reports show.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::{BootTime, PortId};

/// What the counters grew by since the drain before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficDrain {
    /// When the drain was begun: all that happened earlier is in it or in an earlier one.
    pub at: BootTime,
    pub ports: BTreeMap<PortId, PortDelta>,
}

/// Growth of one port's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortDelta {
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    /// Peers that the kernel saw anew; more than listed in `peers` means that some were forgotten.
    pub peers_created: u64,
    pub peers: Vec<PeerDelta>,
}

/// Growth of one peer's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDelta {
    pub address: IpAddr,
    /// When the kernel saw it first (since it last forgot it).
    pub first_seen: BootTime,
    /// UDP datagrams that reached the socket lookup.
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// What this node's connection tracking tells of a connection whose addresses it changes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dialled {
    /// Address and port that the client dialled: a Service's, or the node's.
    pub to: (IpAddr, u16),
    /// The client's own address, where the socket may see the node's.
    pub from: IpAddr,
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
    pub kind: ViaKind,
    /// `NAMESPACE/NAME` of the Service, where known.
    pub reference: Option<String>,
    /// The client's own address, where the pod saw another.
    pub client: Option<IpAddr>,
}

/// Whose an address is that leads to a pod; ordered by how far those may be who dial it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViaKind {
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

impl ViaKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ClusterIp => "clusterIP",
            Self::NodeAddress => "nodeAddress",
            Self::HostPort => "hostPort",
            Self::NodePort => "nodePort",
            Self::ExternalIp => "externalIP",
            Self::LoadBalancer => "loadBalancer",
        }
    }

    /// Who is outside the cluster can dial it as well.
    #[must_use]
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Unknown | Self::ClusterIp)
    }
}

/// Where somebody is, and the name of the pod where known.
pub type PeerOrigin = (Origin, Option<Arc<str>>);
