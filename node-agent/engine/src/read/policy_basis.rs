//! The facts from which a NetworkPolicy or missing declarations can be drafted: the matching pods of this node, their
//! ports, their callers, and the other pods of the namespace that a selector must not match.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::listener::{Declaration, Listener, ListenerState};
use crate::model::owner::is_named;
use crate::model::pod::{Pod, PortRef};
use crate::read::render;
use crate::rules::declaration;
use crate::rules::declaration::{declared_ports, resolved_targets};
use crate::rules::manifests::ServedPort;
use crate::state::pod_record::PodRecord;

/// Maximum number of pods in one basis.
const MAX_PODS: usize = 64;

/// Maximum number of names that Services give a port, or look for in a pod.
const MAX_NAMES: usize = 64;

/// Maximum number of ports of all pods in one basis.
const MAX_PORTS: usize = 1024;

/// The pods that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Namespace; `None`: any.
    pub namespace: Option<String>,
    /// Pod or workload.
    pub subject: PolicySubject,
}

/// A pod or a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySubject {
    /// The pod of this name, and with it all pods of its workload, because no policy selects only one of them.
    Pod(String),
    /// A workload. A CronJob means the pods of all of its Jobs.
    Workload {
        /// Kind, in any case (`deployment`); `None`: any.
        kind: Option<String>,
        /// Name.
        name: String,
    },
}

/// The facts from which a NetworkPolicy can be drafted.
#[derive(Clone, Debug, Default)]
pub struct PolicyBasis {
    /// The target's pods on this node, by namespace and name; at most 64.
    pub pods: Vec<BasisPod>,
    /// The other pods of their namespaces on this node, by namespace and name.
    pub neighbours: Vec<Arc<Pod>>,
    /// The pods of this node that called one of the ports.
    pub callers: Vec<Arc<Pod>>,
    /// True if a pod or port was left out.
    pub truncated: bool,
}

/// One pod of the target.
#[derive(Clone, Debug)]
pub struct BasisPod {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Names of the policies that select the pod, or may.
    pub policies: Vec<String>,
    /// Port names that Services look for, and that no container of the pod declares.
    pub missing_names: BTreeSet<String>,
    /// True if a `port-storm` stands for the many undeclared ports of the pod. Many ports below medium severity are none.
    pub storm: bool,
    /// Declared and served ports, by number and protocol; at most 1024 of all pods together.
    pub ports: Vec<BasisPort>,
}

/// A port that is declared, or served.
#[derive(Clone, Debug)]
pub struct BasisPort {
    /// Protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: NonZeroU16,
    /// Name under which a container declares the port.
    pub name: Option<String>,
    /// What the manifests say about the port.
    pub declaration: Declaration,
    /// The listener; `None` if nothing serves the port now.
    pub listener: Option<Arc<Listener>>,
    /// Code of the port's finding, if there is one.
    pub code: Option<FindingCode>,
    /// Names that Services give the port, sorted.
    pub service_port_names: BTreeSet<String>,
}

impl PolicyTarget {
    /// Returns true if the pod is part of the target.
    fn means(&self, pod: &Pod) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == pod.namespace)
            && match &self.subject {
                PolicySubject::Pod(name) => *name == pod.name,
                PolicySubject::Workload { kind, name } => pod.workload.as_ref().is_some_and(|workload| {
                    is_named((&workload.kind, &workload.name), kind.as_deref(), name)
                }),
            }
    }
}

impl Engine {
    /// Collects the basis of a policy. The basis has no pods if this node has none of the target.
    #[must_use]
    pub fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis {
        let mut basis = PolicyBasis::default();
        let meant: Vec<&PodRecord> = self
            .facts
            .pods
            .live()
            .map(|(_, record)| record)
            .filter(|record| target.means(&record.pod))
            .collect();
        let owners: BTreeSet<(&str, &str, &str)> = meant.iter().filter_map(|one| owner(&one.pod)).collect();
        let names: BTreeSet<(&str, &str)> = meant.iter().map(|one| full_name(&one.pod)).collect();
        let namespaces: BTreeSet<&str> = meant.iter().map(|one| one.pod.namespace.as_str()).collect();
        let mut pods: BTreeMap<(&str, &str), (PodKey, &PodRecord)> = BTreeMap::new();
        for (key, record) in self.facts.pods.live() {
            let pod = &record.pod;
            if names.contains(&full_name(pod)) || owner(pod).is_some_and(|owner| owners.contains(&owner)) {
                pods.insert(full_name(pod), (key, record));
            } else if namespaces.contains(pod.namespace.as_str()) {
                basis.neighbours.push(Arc::clone(pod));
            }
        }
        basis.neighbours.sort_by(|a, b| full_name(a).cmp(&full_name(b)));
        basis.truncated = pods.len() > MAX_PODS;
        let mut left = MAX_PORTS;
        for (key, record) in pods.into_values().take(MAX_PODS) {
            let pod = self.basis_pod(key, record, &mut left, &mut basis.truncated);
            basis.pods.push(pod);
        }
        basis.callers = self.callers(&basis.pods);
        basis
    }

    fn basis_pod(&self, key: PodKey, record: &PodRecord, left: &mut usize, truncated: &mut bool) -> BasisPod {
        let netns = self.facts.netns_of(key);
        let served = record.ports.iter().map(|id| (id.port, id.protocol, Some(*id)));
        let declared = declared_ports(&record.pod)
            .map(|(protocol, port)| (port, protocol, netns.map(|netns| PortId { netns, protocol, port })));
        let all: BTreeMap<(NonZeroU16, Protocol), Option<PortId>> =
            declared.chain(served).map(|(port, protocol, id)| ((port, protocol), id)).collect();
        let mut ports = Vec::new();
        for ((port, protocol), id) in all {
            let Some(port) = self.basis_port(record, protocol, port, id) else { continue };
            if *left == 0 {
                *truncated = true;
                break;
            }
            *left -= 1;
            ports.push(port);
        }
        let policies = record.policies.iter().map(|(policy, _)| policy.name.clone()).collect();
        BasisPod {
            pod: Arc::clone(&record.pod),
            policies,
            missing_names: missing_names(record),
            storm: record.storm.is_active(),
            ports,
        }
    }

    /// Returns one port; `None` if it is neither served nor declared.
    fn basis_port(
        &self,
        record: &PodRecord,
        protocol: Protocol,
        port: NonZeroU16,
        id: Option<PortId>,
    ) -> Option<BasisPort> {
        let served = id.and_then(|id| Some((id, self.ports.get(id)?)));
        let served = served.filter(|(_, port)| port.is_served());
        let code =
            served.and_then(|(_, port)| self.findings.get(port.id)).map(|finding| finding.assessment.code);
        let listener =
            served.map(|(id, port)| Arc::new(render::listener(&self.facts, id, port, ListenerState::Open)));
        let declaring = declaration::declaring(&record.pod, protocol, port);
        if listener.is_none() && declaring.is_empty() {
            return None;
        }
        let mut entries = declaring.iter().flat_map(|container| &container.ports);
        let name = entries.find_map(|entry| {
            entry.name.clone().filter(|_| (entry.protocol, entry.port) == (protocol, port))
        });
        let bare = || {
            let served = ServedPort::unserved(protocol, port);
            declaration::describe(Some(record.manifests()), served)
        };
        let declaration = listener.as_ref().map_or_else(bare, |listener| listener.declaration.clone());
        let service_port_names = service_port_names(record, protocol, port);
        Some(BasisPort { protocol, port, name, declaration, listener, code, service_port_names })
    }

    /// Returns the known pods among the peers of these ports.
    fn callers(&self, pods: &[BasisPod]) -> Vec<Arc<Pod>> {
        let listeners = pods.iter().flat_map(|pod| &pod.ports).filter_map(|port| port.listener.as_ref());
        let peers = listeners.flat_map(|listener| &listener.traffic.peers);
        let names: BTreeSet<&str> = peers.filter_map(|peer| peer.reference.as_deref()).collect();
        let pods = names.into_iter().filter_map(|name| name.split_once('/'));
        pods.filter_map(|(namespace, name)| self.pod(namespace, name)).collect()
    }
}

/// Returns the port names that Services look for, and that no container of the pod declares.
fn missing_names(record: &PodRecord) -> BTreeSet<String> {
    let services = record.services.iter().map(|(service, _)| &**service);
    let missing = resolved_targets(&record.pod, services).filter(|(.., port)| port.is_none());
    let names = missing.filter_map(|(_, entry, _)| match &entry.target {
        PortRef::Name(name) => Some(name.clone()),
        PortRef::Number(_) => None,
    });
    names.take(MAX_NAMES).collect()
}

/// Returns the names that Services give a port.
fn service_port_names(record: &PodRecord, protocol: Protocol, port: NonZeroU16) -> BTreeSet<String> {
    let entries = record.services.iter().flat_map(|(service, _)| &service.ports);
    let sending =
        entries.filter(|entry| entry.protocol == protocol && entry.target_in(&record.pod) == Some(port));
    sending.filter_map(|entry| entry.name.clone()).take(MAX_NAMES).collect()
}

/// Returns namespace and name.
fn full_name(pod: &Pod) -> (&str, &str) {
    (&pod.namespace, &pod.name)
}

/// Returns namespace, kind and name of the pod's workload, or of the CronJob behind it.
fn owner(pod: &Pod) -> Option<(&str, &str, &str)> {
    let (kind, name) = pod.workload.as_ref()?.lasting();
    Some((&pod.namespace, kind, name))
}
