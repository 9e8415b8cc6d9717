//! Everything the manifests say about one pod, borrowed from the state for one decision.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::Protocol;
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::Pod;
use crate::model::process::Process;
use crate::model::selector::Selects;
use crate::model::service::Service;

/// Everything the manifests say about one pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manifests<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The Services that select the pod, by name.
    pub services: &'a [(Arc<Service>, Selects)],
    /// The NetworkPolicies that select the pod, or may, by name.
    pub policies: &'a [(Arc<NetworkPolicy>, Selects)],
}

/// One listener, as far as its declaration depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServedPort<'a> {
    /// Protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: NonZeroU16,
    /// A process that represents all that serve the port; `None` where they are in several containers, or one is not
    /// known.
    pub process: Option<&'a Process>,
    /// The pod that this process runs in, if it is another one than the port's.
    pub served_from: Option<&'a Pod>,
    /// The Service whose `healthCheckNodePort` this is, for a port of the node's own network.
    pub checks_for: Option<&'a Service>,
}

impl ServedPort<'_> {
    /// A port that no process of this kernel serves.
    #[must_use]
    pub(crate) const fn unserved(protocol: Protocol, port: NonZeroU16) -> Self {
        Self { protocol, port, process: None, served_from: None, checks_for: None }
    }
}
