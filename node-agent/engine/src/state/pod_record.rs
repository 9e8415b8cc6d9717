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

/// One pod and everything indexed under it.
#[derive(Debug)]
pub(crate) struct PodRecord {
    /// The merged pod.
    pub pod: Arc<Pod>,
    /// The pod as reports name it.
    pub reference: Arc<PodRef>,
    /// `NAMESPACE/NAME`, shared by all peers that are this pod.
    pub label: Arc<str>,
    /// When the pod was deleted; `None` while a source reports it.
    pub departed: Option<BootTime>,
    /// Ports that are attributed to the pod.
    pub ports: BTreeSet<PortId>,
    /// Its ports that make findings of medium severity or worse.
    pub storm: StormState,
    /// Its ports that make other findings.
    pub quiet_storm: StormState,
    /// The Services that select the pod, by name.
    pub services: Vec<(Arc<Service>, Selects)>,
    /// The NetworkPolicies that select the pod, or may, by name.
    pub policies: Vec<(Arc<NetworkPolicy>, Selects)>,
    /// The exception rules that may concern the pod.
    pub exceptions: PodExceptions,
    /// Ports that are expected to be served.
    pub expected: Expectations,
    /// Expected ports that nothing serves.
    pub unserved: UnservedPorts,
}

impl PodRecord {
    /// Returns everything the manifests say about the pod.
    #[must_use]
    pub(crate) fn manifests(&self) -> Manifests<'_> {
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
            quiet_storm: StormState::default(),
            services: Vec::new(),
            policies: Vec::new(),
            exceptions: PodExceptions::default(),
            expected: Expectations::default(),
            unserved: UnservedPorts::default(),
        }
    }
}
