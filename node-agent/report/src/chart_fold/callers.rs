//! Callers of a row: grouped by workload where it is known, by pod where only that is, else by address and way.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::answer::NodePod;
use crate::chart::{ChartCaller, MAX_LISTED};
use crate::wire::{Peer, Workload};

/// Callers that count as one have the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallerKey {
    /// Origin, namespace, and kind and name of the workload.
    Workload(String, String, String, String),
    /// Origin, namespace, and name of the pod.
    Pod(String, String, String),
    /// Origin, address, and kind of the dialled address.
    Address(String, String, Option<String>),
}

impl CallerKey {
    fn of(caller: &ChartCaller) -> Self {
        let origin = caller.origin.clone();
        match (&caller.namespace, &caller.workload, &caller.pod) {
            (Some(namespace), Some(workload), _) => {
                Self::Workload(origin, namespace.clone(), workload.kind.clone(), workload.name.clone())
            }
            (Some(namespace), None, Some(pod)) => Self::Pod(origin, namespace.clone(), pod.clone()),
            _ => Self::Address(origin, caller.address.clone(), caller.via.clone()),
        }
    }
}

/// Callers by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Callers(BTreeMap<CallerKey, ChartCaller>);

impl Callers {
    /// Adds a caller to those that count as the same one.
    pub(super) fn add(&mut self, caller: ChartCaller) {
        match self.0.entry(CallerKey::of(&caller)) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(caller)),
            std::collections::btree_map::Entry::Occupied(mut entry) => join(entry.get_mut(), caller),
        }
    }

    pub(super) fn extend(&mut self, callers: Self) {
        for caller in callers.0.into_values() {
            self.add(caller);
        }
    }

    /// Names each caller that the directory knows.
    pub(super) fn name(&mut self, directory: &PodDirectory) {
        for mut caller in std::mem::take(&mut self.0).into_values() {
            directory.name(&mut caller);
            self.add(caller);
        }
    }

    /// Returns the busiest callers, and the number of those that are left out.
    pub(super) fn listed(self) -> (Vec<ChartCaller>, u64) {
        let mut callers: Vec<ChartCaller> = self.0.into_values().collect();
        // The sort is stable, so that equal ones stay in the order of their keys.
        callers.sort_by_key(|caller| Reverse((caller.connections, caller.packets)));
        let more = callers.len().saturating_sub(MAX_LISTED) as u64;
        callers.truncate(MAX_LISTED);
        (callers, more)
    }
}

fn join(known: &mut ChartCaller, other: ChartCaller) {
    known.connections = known.connections.saturating_add(other.connections);
    known.packets = known.packets.saturating_add(other.packets);
    if other.address < known.address {
        known.address = other.address;
    }
    known.pod = least(known.pod.take(), other.pod);
    known.node = least(known.node.take(), other.node);
    // Of several ways none is told: only callers from outside are kept apart by their way.
    if known.via != other.via {
        known.via = None;
    }
}

/// Returns the lesser of two texts; the other one if one is absent.
pub(super) fn least(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Returns the caller that a peer is.
pub(super) fn of_peer(peer: &Peer) -> ChartCaller {
    let (namespace, pod) = peer.reference.as_deref().and_then(|name| name.split_once('/')).unzip();
    ChartCaller {
        origin: peer.origin.clone(),
        namespace: namespace.map(ToOwned::to_owned),
        workload: peer.workload.clone(),
        pod: pod.map(ToOwned::to_owned),
        address: peer.via.as_ref().and_then(|via| via.client.clone()).unwrap_or_else(|| peer.address.clone()),
        node: peer.caller_node.clone(),
        via: peer.via.as_ref().map(|via| via.kind.clone()),
        connections: peer.connections,
        packets: peer.packets,
    }
}

/// Who has an address, as lists of pods tell.
#[derive(Clone, Debug, Default)]
pub struct PodDirectory {
    /// Owners by address; `None` if several claim it, so that it names nobody.
    owners: BTreeMap<IpAddr, Option<Owner>>,
    /// Workloads by namespace and name of the pod.
    workloads: BTreeMap<(String, String), Workload>,
}

/// Owner of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// A pod with an address of its own.
    Pod { namespace: String, name: String },
    /// Name of a node. Its pods with `hostNetwork` have the same address.
    Node(String),
}

impl PodDirectory {
    /// Adds a pod.
    pub fn add(&mut self, pod: &NodePod) {
        let (namespace, name) = (&pod.pod.namespace, &pod.pod.name);
        if let Some(workload) = &pod.pod.workload {
            self.workloads.insert((namespace.clone(), name.clone()), workload.clone());
        }
        let owner = if pod.pod.host_network {
            Owner::Node(pod.envelope.node.clone())
        } else {
            Owner::Pod { namespace: namespace.clone(), name: name.clone() }
        };
        for address in pod.addresses.iter().filter_map(|address| canonical(address)) {
            let known = self.owners.entry(address).or_insert_with(|| Some(owner.clone()));
            if known.as_ref() != Some(&owner) {
                *known = None;
            }
        }
    }

    fn owner(&self, address: &str) -> Option<&Owner> {
        self.owners.get(&canonical(address)?)?.as_ref()
    }

    /// Sets namespace, pod and workload of a caller that is a pod, and the node of one that is a node, as far as known. A caller
    /// from outside keeps its address only: pods of other networks can have the same.
    pub fn name(&self, caller: &mut ChartCaller) {
        if matches!(caller.origin.as_str(), "pod" | "same-pod")
            && caller.pod.is_none()
            && caller.workload.is_none()
            && let Some(Owner::Pod { namespace, name }) = self.owner(&caller.address)
        {
            caller.namespace = Some(namespace.clone());
            caller.pod = Some(name.clone());
        }
        if caller.workload.is_none()
            && let (Some(namespace), Some(pod)) = (&caller.namespace, &caller.pod)
        {
            caller.workload = self.workloads.get(&(namespace.clone(), pod.clone())).cloned();
        }
        if caller.origin == "node"
            && caller.node.is_none()
            && let Some(Owner::Node(node)) = self.owner(&caller.address)
        {
            caller.node = Some(node.clone());
        }
    }
}

/// Parses an address. An IPv4 address in an IPv6 one counts as the IPv4 address.
fn canonical(address: &str) -> Option<IpAddr> {
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}
