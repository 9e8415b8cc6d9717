//! The closed enum of all that can drive the engine. Sources make these; nothing else reaches a decision.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::exception::Rule;
use super::identity::{BootTime, NetnsId, PodUid, PortId, SocketCookie};
use super::namespace::Namespace;
use super::network_policy::NetworkPolicy;
use super::pod::Pod;
use super::service::Service;

/// One fact from one source.
#[derive(Clone, Debug)]
pub enum Input {
    /// The kernel saw a socket begin to serve.
    SocketOpened(OpenedSocket),
    /// The kernel saw a socket end to serve.
    SocketClosed {
        netns: NetnsId,
        cookie: SocketCookie,
        at: BootTime,
    },
    /// A whole netns was listed: what is not in it and is older than the scan is gone.
    NetnsScanned(NetnsScan),
    /// A netns exists, or what is known about it changed. Replaces what was known of it. The latest of these and of
    /// `NetnsGone` by `at` holds, whichever came first: a netns that was taken for gone comes back.
    NetnsSeen {
        facts: NetnsFacts,
        /// Before the look at it began.
        at: BootTime,
    },
    /// A netns is gone, with every socket in it.
    NetnsGone {
        netns: NetnsId,
        at: BootTime,
    },
    /// One source's pods, all of them: what is not listed is gone.
    Pods {
        source: &'static str,
        pods: Vec<Pod>,
    },
    /// One pod of a source is new or differs.
    PodChanged {
        source: &'static str,
        pod: Box<Pod>,
    },
    /// One pod of a source is gone.
    PodGone {
        source: &'static str,
        uid: PodUid,
    },
    Services(Listing<Service>),
    NetworkPolicies(Listing<NetworkPolicy>),
    Namespaces(Listing<Namespace>),
    /// The operator's exceptions, all of them, in the order in which they are asked; each has a name of its own.
    Exceptions(Vec<Arc<Rule>>),
    /// The kernel's counters, all that changed since the drain before.
    Traffic(TrafficDrain),
    /// Connections on recorded ports opened and ended; many at once, since there may be thousands in a second.
    Connections(Vec<ConnectionFact>),
    /// Something was dropped somewhere. `recovered` once the scan after it is done.
    Lost {
        reason: &'static str,
        count: u64,
        recovered: bool,
    },
}

/// What a source says of one kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing<T> {
    /// All of them: what is not listed is gone.
    All(Vec<T>),
    Changed(Box<T>),
    /// The object of that name is gone; the namespace is empty for objects that live in none.
    Gone {
        namespace: String,
        name: String,
    },
    /// Forbidden, or not asked for: facts that need it are unknown. The default until the first `All`.
    Unavailable,
}

/// A process, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// `comm`: chosen by the workload.
    pub name: String,
    /// Path of the executable as the kernel tells it; `None` where it cannot be read.
    pub executable: Option<String>,
    /// The process's cgroup path, for attribution; `None` where unknown.
    pub cgroup: Option<String>,
}

/// A socket that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSocket {
    pub cookie: SocketCookie,
    pub port: PortId,
    /// Local address; unspecified for a wildcard. An IPv4 address on an IPv6 socket is given as IPv4.
    pub address: IpAddr,
    /// An IPv6 socket that takes IPv4 as well: `Some(false)`; `None` where only a scan can tell.
    pub v6_only: Option<bool>,
    pub process: Option<Process>,
    pub at: BootTime,
}

/// One socket of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedSocket {
    pub cookie: SocketCookie,
    pub port: PortId,
    pub address: IpAddr,
    /// `None` for IPv4 sockets.
    pub v6_only: Option<bool>,
    pub process: Option<Process>,
}

/// The kernel's own list of the sockets that serve in one netns (TCP LISTEN, unconnected UDP, SCTP LISTEN).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsScan {
    pub netns: NetnsId,
    /// Taken before the first request was sent: a socket older than this that is not listed is gone.
    pub at: BootTime,
    pub sockets: Vec<ScannedSocket>,
}

/// What is known about a netns beside its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFacts {
    pub netns: NetnsId,
    pub inode: u64,
    /// Where it is mounted, canonical (`/run/netns/NAME`); empty where only processes hold it.
    pub paths: Vec<String>,
    /// The host's own netns.
    pub is_host: bool,
    /// Addresses of its interfaces with their prefix, loopback included.
    pub addresses: Vec<IpNet>,
    /// net.ipv4.ip_local_port_range: first and last ephemeral port.
    pub ephemeral_ports: (u16, u16),
}

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

/// What happened to one connection on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionFact {
    Opened(ConnectionOpened),
    Closed(ConnectionClosed),
}

/// A completed handshake on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOpened {
    pub cookie: SocketCookie,
    pub port: PortId,
    pub local: IpAddr,
    pub remote: (IpAddr, u16),
    /// `None`: dialled as it is, or nobody knows.
    pub dialled: Option<Dialled>,
    pub at: BootTime,
}

/// What this node's connection tracking tells of a connection whose addresses it changes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dialled {
    /// Address and port that the client dialled: a Service's, or the node's.
    pub to: (IpAddr, u16),
    /// The client's own address, where the socket may see the node's.
    pub from: IpAddr,
}

/// The end of a recorded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionClosed {
    pub opened: ConnectionOpened,
    pub at: BootTime,
    pub bytes_in: u64,
    pub bytes_out: u64,
}
