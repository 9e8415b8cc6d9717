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
use crate::rules::special_purpose::{self, Scope};
use crate::state::node_addresses::NodeAddresses;
use crate::state::pods::PodIndex;

/// Maximum number of addresses read per pod or pod's netns. A hostile pod may add any number to its own.
const MAX_ADDRESSES: usize = 256;

/// How long a deleted pod's address still refers to it: long enough for the last drains, and shorter than networks
/// take to assign the address again.
const LATE_RECORDS: Duration = Duration::from_secs(5);

/// Owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AddressOwner {
    /// A pod, by its status.
    Pod(PodKey),
    /// A netns, by its interfaces.
    Netns(NetnsId),
}

/// The serving side of a port, from whose point of view a peer is classified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving<'a> {
    /// The pod that serves the port, where known.
    pub pod: Option<PodKey>,
    /// The netns of the port, where known.
    pub facts: Option<&'a NetnsFacts>,
}

/// All known addresses.
#[derive(Debug, Default)]
pub(crate) struct AddressIndex {
    /// Owners of each address of a pod or netns.
    owners: HashMap<IpAddr, BTreeSet<AddressOwner>>,
    /// Addresses of the host's netns.
    node: NodeAddresses,
    pod_ranges: Vec<IpNet>,
    node_ranges: Vec<IpNet>,
    /// Networks around public addresses of pods (see [`surroundings`]), in which pods of other nodes may be.
    learned: BTreeMap<IpNet, BTreeSet<(IpAddr, PodKey)>>,
    /// Deleted pods whose addresses are kept until the given time.
    leaving: VecDeque<(BootTime, PodKey, Arc<Pod>)>,
}

impl AddressIndex {
    #[must_use]
    pub(crate) fn new(pod_ranges: Vec<IpNet>, node_ranges: Vec<IpNet>) -> Self {
        Self { pod_ranges, node_ranges, ..Self::default() }
    }

    /// Adds the addresses of a pod. A hostNetwork pod has none of its own.
    pub(crate) fn add_pod(&mut self, key: PodKey, pod: &Pod) {
        if !pod.host_network {
            for address in pod.addresses.iter().take(MAX_ADDRESSES) {
                self.owners.entry(*address).or_default().insert(AddressOwner::Pod(key));
                if let Some(around) = surroundings(*address) {
                    self.learned.entry(around).or_default().insert((*address, key));
                }
            }
        }
    }

    /// Removes the addresses of a pod.
    pub(crate) fn remove_pod(&mut self, key: PodKey, pod: &Pod) {
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

    /// Keeps a deleted pod's addresses for [`LATE_RECORDS`], for facts that come late.
    pub(crate) fn retire_pod(&mut self, key: PodKey, pod: &Arc<Pod>, now: BootTime) {
        self.leaving.push_back((now.after(LATE_RECORDS), key, Arc::clone(pod)));
    }

    /// Returns when [`Self::sweep`] has something to forget next.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, ..)| *at)
    }

    /// Forgets the expired addresses of pods that are still gone.
    pub(crate) fn sweep(&mut self, now: BootTime, pods: &PodIndex) {
        while let Some((_, key, pod)) = self.leaving.pop_front_if(|(at, ..)| *at <= now) {
            if !pods.is_live(key) {
                self.remove_pod(key, &pod);
            }
        }
    }

    /// Replaces the addresses of a netns, loopback excluded. The host's netns may have tens of thousands, of which one
    /// comes or goes.
    pub(crate) fn replace_netns(&mut self, before: Option<&NetnsFacts>, now: Option<&NetnsFacts>) {
        self.node.replace(of_host(before), of_host(now));
        if let Some(before) = before.filter(|facts| !facts.is_host) {
            for net in reachable(before) {
                self.disown(net.addr(), AddressOwner::Netns(before.netns));
            }
        }
        if let Some(now) = now.filter(|facts| !facts.is_host) {
            for net in reachable(now) {
                self.owners.entry(net.addr()).or_default().insert(AddressOwner::Netns(now.netns));
            }
        }
    }

    /// Classifies a peer by its address, with `NAMESPACE/NAME` of its pod where known.
    #[must_use]
    pub(crate) fn origin(
        &self,
        peer: IpAddr,
        serving: Serving<'_>,
        pods: &PodIndex,
    ) -> (Origin, Option<Arc<str>>) {
        let host = serving.facts.is_some_and(|facts| facts.is_host);
        let own =
            |facts: &NetnsFacts| facts.addresses.iter().take(MAX_ADDRESSES).any(|net| net.addr() == peer);
        if !host && (peer.is_loopback() || serving.facts.is_some_and(own)) {
            return (Origin::SamePod, None);
        }
        if peer.is_loopback() || self.is_node(peer) {
            return (Origin::Node, None);
        }
        // A netns without a pod does not make an address a pod's: a process may give its own netns any public address.
        if let Some(owners) = self.owners.get(&peer)
            && owners.iter().any(|owner| self.pod_of(*owner, pods).is_some())
        {
            return self.owned(owners, serving, pods);
        }
        let could_be_a_pod = match special_purpose::scope(peer) {
            Some(Scope::Link) => true,
            // The operator said where pods are.
            _ if !self.pod_ranges.is_empty() => self.pod_ranges.iter().any(|range| range.contains(&peer)),
            Some(Scope::Private) => true,
            None => {
                self.node.is_neighbour(peer)
                    || surroundings(peer).is_some_and(|around| self.learned.contains_key(&around))
            }
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
            // A late record of a deleted pod, unless a netns without a pod has the address now.
            ([], [pod]) if !strange() => (Origin::Pod, label(*pod, pods)),
            // Several pods have the address, or a netns without a known pod: some pod, without a name.
            _ => (Origin::Pod, None),
        }
    }

    fn pod_of(&self, owner: AddressOwner, pods: &PodIndex) -> Option<PodKey> {
        match owner {
            AddressOwner::Pod(key) => Some(key),
            AddressOwner::Netns(netns) => pods.in_netns(netns),
        }
    }

    /// Returns true for an address of the node.
    #[must_use]
    pub(crate) fn is_node(&self, peer: IpAddr) -> bool {
        self.node.contains(peer)
            || special_purpose::is_ambient_kubelet(peer)
            || self.node_ranges.iter().any(|range| range.contains(&peer))
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

/// Returns the network around a public address that likely belongs to the same cluster: a /16 for IPv4, the smallest
/// range that clusters give to pods, and a /48 for IPv6, which is one site. `None` for private and loopback addresses.
fn surroundings(address: IpAddr) -> Option<IpNet> {
    let bits = if address.is_ipv4() { 16 } else { 48 };
    let net = IpNet::new(address, bits).ok()?;
    (!is_private(address) && !address.is_loopback()).then(|| net.trunc())
}

/// Returns true for an address that is not routed on the Internet. Where no address ranges are configured, such an
/// address may be a pod's or node's.
#[must_use]
pub(crate) fn is_private(peer: IpAddr) -> bool {
    special_purpose::scope(peer).is_some()
}

fn label(pod: PodKey, pods: &PodIndex) -> Option<Arc<str>> {
    pods.get(pod).map(|record| Arc::clone(&record.label))
}

/// Returns the addresses of the host's netns; none for another one.
fn of_host(facts: Option<&NetnsFacts>) -> &[IpNet] {
    facts.filter(|facts| facts.is_host).map(|facts| facts.addresses.as_slice()).unwrap_or_default()
}

/// Returns the addresses of a netns, loopback excluded.
fn reachable(facts: &NetnsFacts) -> impl Iterator<Item = &IpNet> {
    facts.addresses.iter().take(MAX_ADDRESSES).filter(|net| !net.addr().is_loopback())
}
