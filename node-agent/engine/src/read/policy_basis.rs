//! The facts from which a NetworkPolicy for a pod or a workload can be drafted: the matching pods of this node, their
//! ports, their callers, and the other pods of the namespace that a selector must not match.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::listener::{Declaration, Listener, ListenerState};
use crate::model::pod::{Pod, Workload};
use crate::rules::declaration;
use crate::rules::declaration::declared_ports;
use crate::rules::manifests::ServedPort;
use crate::state::pod_record::PodRecord;

/// Pods that one basis tells in full at most.
const MAX_PODS: usize = 64;

/// Ports of all of them together at most.
const MAX_PORTS: usize = 1024;

/// Whom a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// `None`: whichever namespace has it.
    pub namespace: Option<String>,
    pub subject: PolicySubject,
}

/// See [`PolicyTarget`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySubject {
    /// A pod, and with it all pods of its workload: no policy means a single one of them.
    Pod(String),
    /// The kind in any case (`deployment`); `None`: of any kind.
    Workload { kind: Option<String>, name: String },
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct PolicyBasis {
    /// By namespace and name.
    pub pods: Vec<BasisPod>,
    /// The other pods of their namespaces, likewise.
    pub neighbours: Vec<Arc<Pod>>,
    /// The pods of this node that called one of the ports.
    pub callers: Vec<Arc<Pod>>,
    /// Not every pod or port is told.
    pub truncated: bool,
}

/// One pod of the target.
#[derive(Clone, Debug)]
pub struct BasisPod {
    pub pod: Arc<Pod>,
    /// Names of the policies that select it, or may.
    pub policies: Vec<String>,
    /// By number and protocol.
    pub ports: Vec<BasisPort>,
}

/// A port that is declared, or served.
#[derive(Clone, Debug)]
pub struct BasisPort {
    pub protocol: Protocol,
    pub port: NonZeroU16,
    /// As a container calls it.
    pub name: Option<String>,
    pub declaration: Declaration,
    /// `None`: nobody serves it now.
    pub listener: Option<Arc<Listener>>,
    pub code: Option<FindingCode>,
}

impl PolicyTarget {
    fn means(&self, pod: &Pod) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == pod.namespace)
            && match &self.subject {
                PolicySubject::Pod(name) => *name == pod.name,
                PolicySubject::Workload { kind, name } => pod.workload.as_ref().is_some_and(|workload| {
                    workload.name == *name
                        && kind.as_ref().is_none_or(|kind| workload.kind.eq_ignore_ascii_case(kind))
                }),
            }
    }
}

impl Engine {
    /// See the module; without pods where this node has none of the target.
    #[must_use]
    pub fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis {
        let mut basis = PolicyBasis::default();
        let meant: Vec<&PodRecord> =
            self.pods.live().map(|(_, record)| record).filter(|record| target.means(&record.pod)).collect();
        let owners: BTreeSet<(&str, &str, &str)> = meant.iter().filter_map(|one| owner(&one.pod)).collect();
        let names: BTreeSet<(&str, &str)> = meant.iter().map(|one| full_name(&one.pod)).collect();
        let namespaces: BTreeSet<&str> = meant.iter().map(|one| one.pod.namespace.as_str()).collect();
        let mut pods: BTreeMap<(&str, &str), (PodKey, &PodRecord)> = BTreeMap::new();
        for (key, record) in self.pods.live() {
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
        let netns = self.pods.netns(key, &self.netns);
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
        BasisPod { pod: Arc::clone(&record.pod), policies, ports }
    }

    /// `None` for what is neither served nor declared any more.
    fn basis_port(
        &self,
        record: &PodRecord,
        protocol: Protocol,
        port: NonZeroU16,
        id: Option<PortId>,
    ) -> Option<BasisPort> {
        let served = id.and_then(|id| Some((id, self.ports.get(&id)?)));
        let served = served.filter(|(_, port)| !port.sockets.is_empty());
        let code =
            served.and_then(|(_, port)| self.findings.get(port.id)).map(|finding| finding.assessment.code);
        let listener = served.map(|(id, port)| Arc::new(self.render_listener(id, port, ListenerState::Open)));
        let declaring = declaration::declaring(&record.pod, protocol, port);
        if listener.is_none() && declaring.is_empty() {
            return None;
        }
        let mut entries = declaring.iter().flat_map(|container| &container.ports);
        let name = entries.find_map(|entry| {
            entry.name.clone().filter(|_| (entry.protocol, entry.port) == (protocol, port))
        });
        let bare = || {
            let served = ServedPort { protocol, port, process: None };
            declaration::describe(Some(record.manifests()), served)
        };
        let declaration = listener.as_ref().map_or_else(bare, |listener| listener.declaration.clone());
        Some(BasisPort { protocol, port, name, declaration, listener, code })
    }

    fn callers(&self, pods: &[BasisPod]) -> Vec<Arc<Pod>> {
        let listeners = pods.iter().flat_map(|pod| &pod.ports).filter_map(|port| port.listener.as_ref());
        let peers = listeners.flat_map(|listener| &listener.traffic.peers);
        let names: BTreeSet<&str> = peers.filter_map(|peer| peer.reference.as_deref()).collect();
        let pods = names.into_iter().filter_map(|name| name.split_once('/'));
        pods.filter_map(|(namespace, name)| self.pod(namespace, name)).collect()
    }
}

fn full_name(pod: &Pod) -> (&str, &str) {
    (&pod.namespace, &pod.name)
}

fn owner(pod: &Pod) -> Option<(&str, &str, &str)> {
    let Workload { kind, name } = pod.workload.as_ref()?;
    Some((&pod.namespace, kind, name))
}
