//! The answer to an explanation: entry points, Services, pods and ports on the way, and the bounds of each list.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::finding::Finding;
use crate::model::identity::Protocol;
use crate::model::listener::{Declaration, Exposure, Listener};
use crate::model::netns::NetnsRef;
use crate::model::pod::PodRef;
use crate::model::policy::PolicyVerdict;
use crate::model::service::{Service, ServicePort};
use crate::read::explain::target::Target;
use crate::rules::isolation::PolicyStep;

/// Maximum number of ends in one answer.
pub const MAX_ENDS: usize = 32;

/// Maximum number of Services in one answer.
pub(crate) const MAX_SERVICES: usize = 16;

/// Maximum number of pods of one Service in one answer.
pub const MAX_PODS: usize = 16;

/// Maximum number of entry points, policies and nearby ports of one end.
pub(crate) const MAX_PER_END: usize = 16;

/// Maximum number of names in an error.
pub(crate) const MAX_NAMED: usize = 8;

/// The answer to one target.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What was asked.
    pub target: Target,
    /// The answer in one or more sentences.
    pub answer: Vec<String>,
    /// Further facts that matter for the target.
    pub notes: Vec<String>,
    /// Why the answer is not complete; empty if it is complete.
    pub partial: Vec<String>,
    /// Suggested next steps.
    pub next: Vec<String>,
    /// The Services on the way.
    pub services: Vec<ServiceStep>,
    /// The pods at the ends.
    pub pods: Vec<PodStep>,
    /// The ports at which the paths end; at most [`MAX_ENDS`].
    pub ends: Vec<End>,
    /// True if a list was cut.
    pub truncated: bool,
}

/// A Service on the way.
#[derive(Clone, Debug)]
pub struct ServiceStep {
    /// The Service.
    pub service: Arc<Service>,
    /// The requested ports of the Service.
    pub ports: Vec<ServicePort>,
    /// Number of pods of this node that it selects.
    pub pods_here: usize,
}

/// A pod at the end of a path.
#[derive(Clone, Debug)]
pub struct PodStep {
    /// The pod.
    pub pod: PodRef,
    /// Addresses of the pod; at most 16.
    pub addresses: Vec<std::net::IpAddr>,
    /// True if every container is ready; `None` where unknown.
    pub ready: Option<bool>,
    /// Name of a runtime that hides the pod's sockets from this kernel.
    pub opaque_runtime: Option<String>,
    /// True if a virtual machine runs in the pod, whose sockets are not visible to this kernel.
    pub has_guest: bool,
    /// The pod's netns; `None` until a source reports it.
    pub netns: Option<NetnsRef>,
    /// Number of its reported listeners.
    pub listening: usize,
    /// Number of those that no container declares.
    pub undeclared: usize,
    /// Findings about the pod as a whole.
    pub findings: Vec<Arc<Finding>>,
}

/// A port of a pod, or of the node itself, at which a path ends.
#[derive(Clone, Debug)]
pub struct End {
    /// The pod; `None` for the node itself.
    pub pod: Option<PodRef>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port number; `None` if the pod declares no port with the name in the Service's `targetPort`.
    pub port: Option<NonZeroU16>,
    /// What is at the end.
    pub state: EndState,
    /// What can be dialled to reach it.
    pub entry_points: Vec<EntryPoint>,
    /// The listener, if a socket listens.
    pub listener: Option<Arc<Listener>>,
    /// What the manifests say about the port.
    pub declaration: Declaration,
    /// From where the port can be reached.
    pub exposure: Exposure,
    /// What NetworkPolicies say about the port.
    pub policy: PolicyVerdict,
    /// The policies that select the pod, with what each says about the port.
    pub policies: Vec<PolicyStep>,
    /// Findings about the port.
    pub findings: Vec<Arc<Finding>>,
    /// If nothing listens: served ports of the same pod, nearest first.
    pub nearest: Vec<(Protocol, NonZeroU16)>,
}

/// What is at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// A socket listens.
    Served,
    /// Nothing listens.
    Silent,
    /// The pod has no port with the requested name, so nothing is sent to it.
    Unresolved,
    /// The pod's netns was not reported or not scanned yet.
    Unseen,
    /// The pod's sockets, or those of a virtual machine in it, are not visible to this kernel.
    Opaque,
}

impl EndState {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Silent => "silent",
            Self::Unresolved => "unresolved",
            Self::Unseen => "unseen",
            Self::Opaque => "opaque",
        }
    }
}

/// An address and port that a client dials to reach an end.
#[derive(Clone, Debug)]
pub struct EntryPoint {
    /// What the address belongs to.
    pub kind: EntryPointKind,
    /// Addresses or names to dial. Empty: any address of any node, or an unknown one.
    pub addresses: Vec<String>,
    /// Port to dial.
    pub port: NonZeroU16,
    /// The Service and its port, if it leads through one.
    pub service: Option<(Arc<Service>, ServicePort)>,
}

/// What the address of an entry point belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPointKind {
    /// A port of every node.
    NodePort,
    /// A Service's load balancer.
    LoadBalancer,
    /// A Service's external IP.
    ExternalIp,
    /// A Service's cluster IP.
    ClusterIp,
    /// The name of a headless Service, which resolves to the pods' own addresses.
    Headless,
    /// A hostPort of the node.
    HostPort,
    /// The node's own addresses: the pod uses the node's network.
    HostNetwork,
    /// The pod's own address.
    PodAddress,
    /// Loopback, from within the pod only.
    Loopback,
}

impl EntryPointKind {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodePort => "nodePort",
            Self::LoadBalancer => "loadBalancer",
            Self::ExternalIp => "externalIP",
            Self::ClusterIp => "clusterIP",
            Self::Headless => "headless",
            Self::HostPort => "hostPort",
            Self::HostNetwork => "hostNetwork",
            Self::PodAddress => "podAddress",
            Self::Loopback => "loopback",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// No live pod of this node has that name.
    #[error("no pod {name} is known on this node; {hint}")]
    NoPod {
        /// Name as asked.
        name: String,
        /// Objects that have a similar name, or a command that lists them.
        hint: String,
    },
    /// No known Service has that name.
    #[error("no Service {name} is known; {hint}")]
    NoService {
        /// Name as asked.
        name: String,
        /// Objects that have a similar name, or a command that lists them.
        hint: String,
    },
    /// The pod or Service has no such port.
    #[error("{what} {name} has no port {port}; it has {known}")]
    NoPort {
        /// `pod` or `Service`.
        what: &'static str,
        /// `NAMESPACE/NAME` of the object.
        name: String,
        /// Port as asked.
        port: String,
        /// The ports that it has.
        known: String,
    },
    /// Several objects have that name.
    #[error(
        "{count} {what} are called {name}: say which, as one of {}{}",
        candidates.join(", "),
        if candidates.len() < *count { ", …" } else { "" }
    )]
    Ambiguous {
        /// `pods` or `Services`.
        what: &'static str,
        /// Name as asked.
        name: String,
        /// Number of objects with that name.
        count: usize,
        /// The first of them, as targets.
        candidates: Vec<String>,
    },
}
