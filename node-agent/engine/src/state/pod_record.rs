//! One pod in the index: its merged description, the objects that select it, and the ports attributed to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::identity::{BootTime, PortId};
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::{Pod, PodRef, label};
use crate::model::selector::Selects;
use crate::model::service::Service;
use crate::rules::expectations::Expectations;
use crate::rules::manifests::Manifests;
use crate::state::exceptions::PodExceptions;
use crate::state::storms::StormState;
use crate::state::unserved::UnservedPorts;

/// One pod and what the engine keeps about it.
#[derive(Debug)]
pub struct PodRecord {
    pub pod: Arc<Pod>,
    pub reference: Arc<PodRef>,
    /// `NAMESPACE/NAME`, shared by all peers that are this pod.
    pub label: Arc<str>,
    pub departed: Option<BootTime>,
    /// Ports that are attributed to it.
    pub ports: BTreeSet<PortId>,
    /// Those of them that make findings.
    pub storm: StormState,
    /// The Services that select it, by name.
    pub services: Vec<(Arc<Service>, Selects)>,
    /// The NetworkPolicies that select it, or may, by name.
    pub policies: Vec<(Arc<NetworkPolicy>, Selects)>,
    pub exceptions: PodExceptions,
    pub expected: Expectations,
    pub unserved: UnservedPorts,
}

impl PodRecord {
    /// All that manifests say of it.
    #[must_use]
    pub fn manifests(&self) -> Manifests<'_> {
        Manifests { pod: &self.pod, services: &self.services, policies: &self.policies }
    }

    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        Self {
            reference: Arc::new(PodRef::of(&pod)),
            label: label(&pod),
            pod,
            departed: None,
            ports: BTreeSet::new(),
            storm: StormState::default(),
            services: Vec::new(),
            policies: Vec::new(),
            exceptions: PodExceptions::default(),
            expected: Expectations::default(),
            unserved: UnservedPorts::default(),
        }
    }
}
