//! Where a peer is, told by its address: the pod itself, the node, another pod, or outside. An address that could be a
//! pod's is never called external; nothing that a pod does to its own interfaces makes another address look like a pod's.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::change::Origin;
use super::identity::NetnsId;
use super::input::NetnsFacts;
use super::pod::Pod;
use super::pod_index::{PodIndex, PodKey};

/// Addresses of one netns that are looked at: a hostile pod may add any number to its own.
const MAX_ADDRESSES: usize = 256;

/// Whose address something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AddressOwner {
    Pod(PodKey),
    Netns(NetnsId),
}

/// For whom an origin is asked.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    pub pod: Option<PodKey>,
    pub facts: Option<&'a NetnsFacts>,
}

/// All known addresses.
#[derive(Debug, Default)]
pub struct AddressBook {
    owners: HashMap<IpAddr, BTreeSet<AddressOwner>>,
    node: BTreeSet<IpAddr>,
    pod_ranges: Vec<IpNet>,
    node_ranges: Vec<IpNet>,
}

impl AddressBook {
    #[must_use]
    pub fn new(pod_ranges: Vec<IpNet>, node_ranges: Vec<IpNet>) -> Self {
        Self { pod_ranges, node_ranges, ..Self::default() }
    }

    pub fn add_pod(&mut self, key: PodKey, pod: &Pod) {
        if !pod.host_network {
            for address in pod.addresses.iter().take(MAX_ADDRESSES) {
                self.owners.entry(*address).or_default().insert(AddressOwner::Pod(key));
            }
        }
    }

    pub fn remove_pod(&mut self, key: PodKey, pod: &Pod) {
        for address in pod.addresses.iter().take(MAX_ADDRESSES) {
            self.disown(*address, AddressOwner::Pod(key));
        }
    }

    pub fn add_netns(&mut self, facts: &NetnsFacts) {
        for net in reachable(facts) {
            if facts.is_host {
                self.node.insert(net.addr());
                continue;
            }
            self.owners.entry(net.addr()).or_default().insert(AddressOwner::Netns(facts.netns));
        }
    }

    pub fn remove_netns(&mut self, facts: &NetnsFacts) {
        for net in reachable(facts) {
            if facts.is_host {
                self.node.remove(&net.addr());
                continue;
            }
            self.disown(net.addr(), AddressOwner::Netns(facts.netns));
        }
    }

    /// Where a peer is, and its pod's name where that is known.
    #[must_use]
    pub fn origin(&self, peer: IpAddr, serving: Serving<'_>, pods: &PodIndex) -> (Origin, Option<Arc<str>>) {
        let host = serving.facts.is_some_and(|facts| facts.is_host);
        let own =
            |facts: &NetnsFacts| facts.addresses.iter().take(MAX_ADDRESSES).any(|net| net.addr() == peer);
        if !host && (peer.is_loopback() || serving.facts.is_some_and(own)) {
            return (Origin::SamePod, None);
        }
        if peer.is_loopback() || self.is_node(peer) {
            return (Origin::Node, None);
        }
        // A netns without a pod makes no address a pod's: a process may give its own netns any address of the Internet.
        if let Some(owners) = self.owners.get(&peer)
            && owners.iter().any(|owner| self.pod_of(*owner, pods).is_some())
        {
            return self.owned(owners, serving, pods);
        }
        let could_be_a_pod = if self.pod_ranges.is_empty() {
            is_private(peer)
        } else {
            self.pod_ranges.iter().any(|range| range.contains(&peer))
        };
        (if could_be_a_pod { Origin::Pod } else { Origin::External }, None)
    }

    fn owned(
        &self,
        owners: &BTreeSet<AddressOwner>,
        serving: Serving<'_>,
        pods: &PodIndex,
    ) -> (Origin, Option<Arc<str>>) {
        let found: BTreeSet<PodKey> = owners.iter().filter_map(|owner| self.pod_of(*owner, pods)).collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(pod), None) if serving.pod == Some(pod) => (Origin::SamePod, None),
            (Some(pod), None) => (Origin::Pod, pods.get(pod).map(|record| Arc::clone(&record.label))),
            // Two pods claim the address: a pod, but which one is not said.
            _ => (Origin::Pod, None),
        }
    }

    fn pod_of(&self, owner: AddressOwner, pods: &PodIndex) -> Option<PodKey> {
        match owner {
            AddressOwner::Pod(key) => Some(key),
            AddressOwner::Netns(netns) => pods.in_netns(netns),
        }
    }

    fn is_node(&self, peer: IpAddr) -> bool {
        self.node.contains(&peer) || self.node_ranges.iter().any(|range| range.contains(&peer))
    }

    fn disown(&mut self, address: IpAddr, owner: AddressOwner) {
        if let Some(owners) = self.owners.get_mut(&address) {
            owners.remove(&owner);
            if owners.is_empty() {
                self.owners.remove(&address);
            }
        }
    }
}

/// An address that is not routed on the Internet: where nobody said which addresses pods and nodes have, it may be theirs.
fn is_private(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // 100.64.0.0/10 is the shared space of RFC 6598, which providers give to nodes and pods.
            v4.is_private() || v4.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn reachable(facts: &NetnsFacts) -> impl Iterator<Item = &IpNet> {
    facts.addresses.iter().take(MAX_ADDRESSES).filter(|net| !net.addr().is_loopback())
}
