//! Traffic of a port: the growth that each drain reports, and the totals and peers that reports show.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::{BootTime, PortId};
use crate::model::reach::Reach;

/// Growth of the kernel's counters since the previous drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficDrain {
    /// When the drain began. Everything earlier is in this drain or in a previous one.
    pub at: BootTime,
    /// Growth of each port whose counters changed.
    pub ports: BTreeMap<PortId, PortDelta>,
}

/// Growth of one port's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortDelta {
    /// TCP: SYNs. UDP: datagrams that do not pass an interface, as those from within the pod.
    pub attempts: u64,
    /// Completed handshakes.
    pub connections: u64,
    /// Packets at the interface.
    pub packets: u64,
    /// Bytes at the interface.
    pub bytes: u64,
    /// Number of peer entries that the kernel created. More than `peers` lists means that the kernel evicted some.
    pub peers_created: u64,
    /// Growth of each peer's counters.
    pub peers: Vec<PeerDelta>,
}

/// Growth of one peer's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDelta {
    /// Address of the peer as the pod sees it.
    pub address: IpAddr,
    /// When the kernel created the peer's entry, which may be after an eviction.
    pub first_seen: BootTime,
    /// UDP datagrams that reached the socket lookup.
    pub attempts: u64,
    /// Completed handshakes.
    pub connections: u64,
    /// Packets at the interface.
    pub packets: u64,
    /// Bytes at the interface.
    pub bytes: u64,
    /// UDP: true if a socket of the port addressed the peer before the peer was heard. What comes from the peer then
    /// are answers, not calls. Its counters are 0 until it answers.
    pub addressed_first: bool,
    /// TCP: the port whose socket accepts the peer's connections, where a rule in the netns redirects them from this
    /// port, as for a proxy. `None`: a socket of this port accepts them.
    pub accepted_by: Option<NonZeroU16>,
}

/// What the node's connection tracking knows about a connection whose addresses it translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dialled {
    /// Address and port that the client dialled: a Service's, or the node's.
    pub to: (IpAddr, u16),
    /// The client's own address, where the socket may see the node's.
    pub from: IpAddr,
}

/// Traffic of a port since it opened, or since the agent began to count it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// The time from which the counts are complete: the opening of the port if the agent saw it, else when the agent began
    /// to count. For a storm the latest of its ports. `None` if nothing is counted.
    pub since: Option<BootTime>,
    /// How far the callers were away that an earlier run of the agent saw. They are not in the counts.
    pub earlier: Reach,
    /// TCP: SYNs. UDP: datagrams.
    pub attempts: u64,
    /// Completed handshakes.
    pub connections: u64,
    /// Packets; for UDP at least the datagrams that reached the socket lookup.
    pub packets: u64,
    /// Bytes at the interface.
    pub bytes: u64,
    /// Time of the last drain with traffic.
    pub last_seen: Option<BootTime>,
    /// Known peers, busiest first.
    pub peers: Vec<Peer>,
    /// True if some peers are not listed, because the table or the kernel's LRU was full.
    pub truncated: bool,
}

/// A sender of traffic to a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Address as the pod sees it.
    pub address: IpAddr,
    /// Where the peer is.
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the peer's pod, where known.
    pub reference: Option<String>,
    /// How the peer reached the port, if not by the pod's own address and a socket of the port.
    pub via: Option<Arc<Via>>,
    /// True if no explanation of the port explains the peer's calls. Only of explained ports.
    pub is_beyond_audience: bool,
    /// Completed handshakes.
    pub connections: u64,
    /// Packets; for UDP at least the datagrams that reached the socket lookup.
    pub packets: u64,
    /// Bytes at the interface.
    pub bytes: u64,
    /// When the peer was seen first.
    pub first_seen: BootTime,
    /// Time of the last drain with traffic of the peer.
    pub last_seen: BootTime,
}

/// Where a peer is; ordered from nearest to farthest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// In the pod itself.
    SamePod,
    /// On the pod's node.
    Node,
    /// In another pod.
    Pod,
    /// In another pod, which dialled a translated address such as a Service's.
    Service,
    /// Outside the cluster.
    External,
}

impl Origin {
    /// Returns the name that reports use.
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

/// The address that a client dialled instead of the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Dialled address.
    pub address: IpAddr,
    /// Dialled port.
    pub port: u16,
    /// What the address belongs to.
    pub kind: ViaKind,
    /// `NAMESPACE/NAME` of the Service, where known.
    pub reference: Option<String>,
    /// The client's own address, where the pod saw another.
    pub client: Option<IpAddr>,
}

impl Via {
    /// Describes what takes a connection inside the pod.
    pub(crate) const fn inside(kind: ViaKind, (address, port): (IpAddr, u16)) -> Self {
        Self { address, port, kind, reference: None, client: None }
    }
}

/// What a dialled address belongs to; ordered by how far away its callers can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViaKind {
    /// Neither a known Service's nor the node's.
    Unknown,
    /// The pod's own; a proxy in the pod takes the connection. The port of [`Via`] is the proxy's.
    Proxy,
    /// The pod's own; a rule in the pod forwards the connection to the address of [`Via`].
    Forwarded,
    /// A Service's cluster IP.
    ClusterIp,
    /// The node's, through a rule that belongs to no known Service or hostPort.
    NodeAddress,
    /// The node's, through a hostPort.
    HostPort,
    /// The node's, through a NodePort.
    NodePort,
    /// A Service's external IP.
    ExternalIp,
    /// A Service's load balancer.
    LoadBalancer,
}

impl ViaKind {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proxy => "proxy",
            Self::Forwarded => "forwarded",
            Self::ClusterIp => "clusterIP",
            Self::NodeAddress => "nodeAddress",
            Self::HostPort => "hostPort",
            Self::NodePort => "nodePort",
            Self::ExternalIp => "externalIP",
            Self::LoadBalancer => "loadBalancer",
        }
    }

    /// Returns true if clients outside the cluster can dial the address too.
    #[must_use]
    pub(crate) const fn is_public(self) -> bool {
        !matches!(self, Self::Unknown | Self::Proxy | Self::Forwarded | Self::ClusterIp)
    }
}

/// Where a peer is, and `NAMESPACE/NAME` of its pod where known.
pub(crate) type PeerOrigin = (Origin, Option<Arc<str>>);
