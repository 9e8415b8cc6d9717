//! Classifies a peer by its address: the pod itself, the node, another pod, or external. An address that could be a
//! pod's is never external, and no pod can make another address look like a pod's through its own interfaces.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::identity::{BootTime, NetnsId, PodKey};
use crate::model::netns::NetnsFacts;
use crate::model::pod::Pod;
use crate::model::traffic::Origin;
use crate::state::pods::PodIndex;

/// Addresses of one netns that are looked at: a hostile pod may add any number to its own.
const MAX_ADDRESSES: usize = 256;

/// How long a deleted pod's address still names it: the last drains, and not until a network gives it to another pod.
const LATE_RECORDS: Duration = Duration::from_secs(5);

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
pub struct AddressIndex {
    owners: HashMap<IpAddr, BTreeSet<AddressOwner>>,
    node: BTreeSet<IpAddr>,
    pod_ranges: Vec<IpNet>,
    node_ranges: Vec<IpNet>,
    /// Where addresses of pods are routed on the Internet: the surroundings of each, where pods of other nodes may be.
    learned: BTreeMap<IpNet, BTreeSet<(IpAddr, PodKey)>>,
    /// Deleted pods whose addresses are still here.
    leaving: VecDeque<(BootTime, PodKey, Arc<Pod>)>,
}

impl AddressIndex {
    #[must_use]
    pub fn new(pod_ranges: Vec<IpNet>, node_ranges: Vec<IpNet>) -> Self {
        Self { pod_ranges, node_ranges, ..Self::default() }
    }

    pub fn add_pod(&mut self, key: PodKey, pod: &Pod) {
        if !pod.host_network {
            for address in pod.addresses.iter().take(MAX_ADDRESSES) {
                self.owners.entry(*address).or_default().insert(AddressOwner::Pod(key));
                if let Some(around) = surroundings(*address) {
                    self.learned.entry(around).or_default().insert((*address, key));
                }
            }
        }
    }

    pub fn remove_pod(&mut self, key: PodKey, pod: &Pod) {
        for address in pod.addresses.iter().take(MAX_ADDRESSES) {
            self.disown(*address, AddressOwner::Pod(key));
            if let Some(around) = surroundings(*address)
                && let Some(learned) = self.learned.get_mut(&around)
            {
                learned.remove(&(*address, key));
                if learned.is_empty() {
                    self.learned.remove(&around);
                }
            }
        }
    }

    /// Lets a deleted pod's addresses name it for a moment, for records that come late.
    pub fn retire_pod(&mut self, key: PodKey, pod: &Arc<Pod>, now: BootTime) {
        self.leaving.push_back((now.after(LATE_RECORDS), key, Arc::clone(pod)));
    }

    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, ..)| *at)
    }

    /// Forgets the addresses of pods that are still gone.
    pub fn sweep(&mut self, now: BootTime, pods: &PodIndex) {
        while let Some((_, key, pod)) = self.leaving.pop_front_if(|(at, ..)| *at <= now) {
            if !pods.is_live(key) {
                self.remove_pod(key, &pod);
            }
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
            is_private(peer) || surroundings(peer).is_some_and(|around| self.learned.contains_key(&around))
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
        let strange = || owners.iter().any(|owner| self.pod_of(*owner, pods).is_none());
        let (live, gone): (Vec<PodKey>, Vec<PodKey>) = found.into_iter().partition(|key| pods.is_live(*key));
        match (live.as_slice(), gone.as_slice()) {
            ([pod], _) if serving.pod == Some(*pod) => (Origin::SamePod, None),
            ([pod], _) => (Origin::Pod, label(*pod, pods)),
            // A record that comes late, unless somebody has taken the address over.
            ([], [pod]) if !strange() => (Origin::Pod, label(*pod, pods)),
            // Two pods claim the address, or a netns whose pod is not known: a pod, but which one is not said.
            _ => (Origin::Pod, None),
        }
    }

    fn pod_of(&self, owner: AddressOwner, pods: &PodIndex) -> Option<PodKey> {
        match owner {
            AddressOwner::Pod(key) => Some(key),
            AddressOwner::Netns(netns) => pods.in_netns(netns),
        }
    }

    /// True for an address of the node.
    #[must_use]
    pub fn is_node(&self, peer: IpAddr) -> bool {
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

/// What is likely to be one cluster's, of an address that is routed on the Internet: nobody gives pods less than a /16, and a
/// site has a /48.
fn surroundings(address: IpAddr) -> Option<IpNet> {
    let bits = if address.is_ipv4() { 16 } else { 48 };
    let net = IpNet::new(address, bits).ok()?;
    (!is_private(address) && !address.is_loopback()).then(|| net.trunc())
}

/// An address that is not routed on the Internet: where nobody said which addresses pods and nodes have, it may be theirs.
#[must_use]
pub fn is_private(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // 100.64.0.0/10 is the shared space of RFC 6598, which providers give to nodes and pods.
            v4.is_private() || v4.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn label(pod: PodKey, pods: &PodIndex) -> Option<Arc<str>> {
    pods.get(pod).map(|record| Arc::clone(&record.label))
}

fn reachable(facts: &NetnsFacts) -> impl Iterator<Item = &IpNet> {
    facts.addresses.iter().take(MAX_ADDRESSES).filter(|net| !net.addr().is_loopback())
}
