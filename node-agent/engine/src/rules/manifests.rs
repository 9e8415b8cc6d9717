//! Everything the manifests say about one pod, borrowed from the state for one decision.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::Protocol;
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::Pod;
use crate::model::process::Process;
use crate::model::selector::Selects;
use crate::model::service::Service;

/// All that manifests say of one pod.
#[derive(Clone, Copy, Debug)]
pub struct Manifests<'a> {
    pub pod: &'a Pod,
    /// The Services that select it, by name.
    pub services: &'a [(Arc<Service>, Selects)],
    /// The NetworkPolicies that select it, or may, by name.
    pub policies: &'a [(Arc<NetworkPolicy>, Selects)],
}

/// One listener, as far as declarations depend on it.
#[derive(Clone, Copy, Debug)]
pub struct ServedPort<'a> {
    pub protocol: Protocol,
    pub port: NonZeroU16,
    /// It stands for all that serve the port; `None` where they are in several containers, or not known.
    pub process: Option<&'a Process>,
}
