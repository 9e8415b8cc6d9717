//! One pod as the engine keeps it: what is known of it, what selects it, and the ports that are judged under its name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::PodRef;
use super::crowd::Crowd;
use super::declaration::Manifests;
use super::expected::{Expected, Silent};
use super::identity::{BootTime, PortId};
use super::network_policy::NetworkPolicy;
use super::pod::Pod;
use super::selection::Selects;
use super::service::Service;
use super::suppression::PodExceptions;

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
    pub crowd: Crowd,
    /// The Services that select it, by name.
    pub services: Vec<(Arc<Service>, Selects)>,
    /// The NetworkPolicies that select it, or may, by name.
    pub policies: Vec<(Arc<NetworkPolicy>, Selects)>,
    pub exceptions: PodExceptions,
    pub expected: Expected,
    pub silent: Silent,
}

impl PodRecord {
    /// All that manifests say of it.
    #[must_use]
    pub fn manifests(&self) -> Manifests<'_> {
        Manifests { pod: &self.pod, services: &self.services, policies: &self.policies }
    }

    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self {
            reference: Arc::new(PodRef::of(&pod)),
            label: label(&pod),
            pod,
            departed: None,
            ports: BTreeSet::new(),
            crowd: Crowd::default(),
            services: Vec::new(),
            policies: Vec::new(),
            exceptions: PodExceptions::default(),
            expected: Expected::default(),
            silent: Silent::default(),
        }
    }
}

impl PodRef {
    /// The names of this pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            workload: pod.workload.clone(),
            host_network: pod.host_network,
            labels: Arc::new(pod.labels.clone()),
        }
    }

    /// True if it names this pod as it is now.
    pub(super) fn names(&self, pod: &Pod) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&pod.namespace, &pod.name, &pod.uid)
            && (&self.workload, self.host_network) == (&pod.workload, pod.host_network)
            && *self.labels == pod.labels
    }
}

pub(super) fn label(pod: &Pod) -> Arc<str> {
    format!("{}/{}", pod.namespace, pod.name).into()
}
