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

/// Ends of ways, Services on them, and pods of one Service that one answer has at most.
pub const MAX_ENDS: usize = 32;

/// See [`MAX_ENDS`].
pub const MAX_SERVICES: usize = 16;

/// See [`MAX_ENDS`].
pub const MAX_PODS: usize = 16;

/// Doors of one end, policies on it, and ports near it that one answer has at most.
pub(crate) const MAX_PER_END: usize = 16;

/// Names that an error lists at most.
pub(crate) const MAX_NAMED: usize = 8;

/// The answer.
#[derive(Clone, Debug)]
pub struct Explained {
    pub target: Target,
    /// The answer in a sentence or a few.
    pub answer: Vec<String>,
    /// What one should know beside it.
    pub notes: Vec<String>,
    /// Why it is not the whole answer; empty where it is.
    pub partial: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// The Services on the way.
    pub services: Vec<ServiceStep>,
    /// The pods at the ends.
    pub pods: Vec<PodStep>,
    pub ends: Vec<End>,
    /// Something was left out, since there is too much of it.
    pub truncated: bool,
}

/// A Service on the way.
#[derive(Clone, Debug)]
pub struct ServiceStep {
    pub service: Arc<Service>,
    /// Those of its ports that are asked for.
    pub ports: Vec<ServicePort>,
    /// Pods of this node that it selects.
    pub pods_here: usize,
}

/// A pod at the end of a way.
#[derive(Clone, Debug)]
pub struct PodStep {
    pub pod: PodRef,
    pub addresses: Vec<std::net::IpAddr>,
    pub ready: Option<bool>,
    pub opaque_runtime: Option<String>,
    /// `None` where it was not seen yet.
    pub netns: Option<NetnsRef>,
    /// How many of its ports are listened on.
    pub listening: usize,
    /// How many of those no container declares.
    pub undeclared: usize,
    /// Findings on the pod as a whole.
    pub findings: Vec<Arc<Finding>>,
}

/// A port of a pod, or of the node itself, at which a way ends.
#[derive(Clone, Debug)]
pub struct End {
    /// `None`: the node's own.
    pub pod: Option<PodRef>,
    pub protocol: Protocol,
    /// `None`: the pod declares no port of the name that the Service's targetPort says.
    pub port: Option<NonZeroU16>,
    pub state: EndState,
    pub entry_points: Vec<EntryPoint>,
    pub listener: Option<Arc<Listener>>,
    pub declaration: Declaration,
    pub exposure: Exposure,
    pub policy: PolicyVerdict,
    /// Those that select the pod, with what they say of the port.
    pub policies: Vec<PolicyStep>,
    pub findings: Vec<Arc<Finding>>,
    /// Where nobody listens: ports of the same pod that are listened on, the nearest first.
    pub nearest: Vec<(Protocol, NonZeroU16)>,
}

/// What is at the end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// A socket listens.
    Served,
    /// Nobody listens.
    UnservedPorts,
    /// The pod has no port of the name that is asked for, so that nothing is sent to it.
    Unresolved,
    /// The pod's network namespace was not seen or not looked at yet.
    Unseen,
    /// The pod's sockets are not this kernel's.
    Opaque,
}

impl EndState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::UnservedPorts => "silent",
            Self::Unresolved => "unresolved",
            Self::Unseen => "unseen",
            Self::Opaque => "opaque",
        }
    }
}

/// What somebody dials to get to an end.
#[derive(Clone, Debug)]
pub struct EntryPoint {
    pub kind: EntryPointKind,
    /// What is dialled; empty: any address of any node, or one that is not known.
    pub addresses: Vec<String>,
    pub port: NonZeroU16,
    /// Through which port of which Service it leads.
    pub service: Option<(Arc<Service>, ServicePort)>,
}

/// What kind of thing is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPointKind {
    NodePort,
    LoadBalancer,
    ExternalIp,
    ClusterIp,
    /// The Service's name, which resolves to the pods' own addresses.
    Headless,
    HostPort,
    /// The node's own addresses: the pod has no network of its own.
    HostNetwork,
    PodAddress,
    /// Only from within the pod.
    Loopback,
}

impl EntryPointKind {
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
    #[error("no pod {name} is known on this node; {hint}")]
    NoPod { name: String, hint: String },
    #[error("no Service {name} is known; {hint}")]
    NoService { name: String, hint: String },
    #[error("{what} {name} has no port {port}; it has {known}")]
    NoPort { what: &'static str, name: String, port: String, known: String },
    #[error(
        "{count} {what} are called {name}: say which, as one of {}{}",
        candidates.join(", "),
        if candidates.len() < *count { ", …" } else { "" }
    )]
    Ambiguous { what: &'static str, name: String, count: usize, candidates: Vec<String> },
}
