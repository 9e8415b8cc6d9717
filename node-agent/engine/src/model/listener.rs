//! A listener as reports show it: a served port with its declaration and exposure.

use std::net::IpAddr;

use crate::model::identity::{BootTime, PortId};
use crate::model::netns::NetnsRef;
use crate::model::pod::{Container, PodRef};
use crate::model::process::Process;
use crate::model::traffic::Traffic;

/// Whether a port is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerState {
    /// A socket serves the port.
    Open,
    /// No socket serves the port any more.
    Closed,
}

/// Who serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServedBy {
    /// A process, known or not.
    Process,
    /// The kernel itself.
    Kernel,
    /// Another port, another netns or a virtual machine, to which the rules of the netns lead the port.
    Forwarded,
}

impl ServedBy {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Kernel => "kernel",
            Self::Forwarded => "forwarded",
        }
    }
}

/// A served port, however many sockets serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Stable id, derived from pod UID (or netns cookie), protocol and port.
    pub id: String,
    /// The port.
    pub port: PortId,
    /// Local addresses of its sockets, sorted, at most 64; loopback addresses are cut first.
    pub addresses: Vec<IpAddr>,
    /// True if the port has IPv6 sockets and all of them refuse IPv4.
    pub v6_only: bool,
    /// Number of sockets that serve it.
    pub sockets: usize,
    /// The netns of the port.
    pub netns: NetnsRef,
    /// Who serves the port.
    pub served_by: ServedBy,
    /// A process that serves the port, where known: of several, one whose socket can be reached from the farthest.
    pub process: Option<Process>,
    /// Processes of other programs that serve the same port number on other addresses.
    pub other_processes: Vec<Process>,
    /// Where the rules of the netns forward the port to, if no socket serves it.
    pub forwarded_to: Option<(IpAddr, u16)>,
    /// True for a UDP socket that nobody called yet, and that may be a client's.
    pub unproven: bool,
    /// True if a `port-storm` stands for the many undeclared ports of the pod.
    pub in_storm: bool,
    /// When the first of its sockets opened; `None` if a socket is older than the agent.
    pub opened_at: Option<BootTime>,
    /// Whether the port is still served.
    pub state: ListenerState,
    /// The pod that the port is attributed to.
    pub pod: Option<PodRef>,
    /// The container that serves the port, where it is certain.
    pub container: Option<Container>,
    /// What the manifests say about the port.
    pub declaration: Declaration,
    /// From where the port can be reached.
    pub exposure: Exposure,
    /// Traffic and peers.
    pub traffic: Traffic,
}

/// What the manifests say about a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The summary.
    pub status: DeclarationStatus,
    /// Containers that declare the port, as `container/NAME`.
    pub declared_by: Vec<String>,
    /// Other reasons to expect the port.
    pub explained_by: Vec<Explanation>,
}

/// Summary of what the manifests say about a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeclarationStatus {
    /// A container declares the port.
    Declared,
    /// No container declares the port, but something else expects it.
    Explained,
    /// Nothing declares or expects the port.
    Undeclared,
    /// No pod is known for the port.
    Unknown,
}

impl DeclarationStatus {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Explained => "explained",
            Self::Undeclared => "undeclared",
            Self::Unknown => "unknown",
        }
    }

    /// Returns true if something in the manifests expects the port.
    #[must_use]
    pub(crate) const fn is_expected(self) -> bool {
        matches!(self, Self::Declared | Self::Explained)
    }
}

/// Why a port that no container declares is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Kind of the reason: `probe`, `lifecycle`, `service`, `health-check`, `annotation`, `mesh` or
    /// `network-policy`.
    pub source: String,
    /// The object or field that expects the port.
    pub reference: String,
    /// Whose calls it explains.
    pub audience: Audience,
}

/// Whose calls an explanation explains; ordered from few to many. Each includes the pod itself and its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// The node's own, such as kubelet's.
    Node,
    /// Those whom a NetworkPolicy lists.
    Listed,
    /// Every pod's.
    Pods,
    /// Everybody's, also from outside the cluster.
    Everybody,
}

impl Audience {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Listed => "listed",
            Self::Pods => "pods",
            Self::Everybody => "everybody",
        }
    }
}

/// From where a port can be reached, by the addresses of its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    /// From its own netns only.
    Loopback,
    /// From outside its pod.
    Pod,
    /// By the node's own addresses.
    Host,
}

impl Exposure {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Pod => "pod",
            Self::Host => "host",
        }
    }
}
