//! Everything that sources reported, one index per kind of fact. Each index guards its own fields; they lie side by side
//! here so that borrows of different indexes do not conflict.

use std::sync::Arc;

use crate::model::identity::{BootTime, NetnsId, PodKey, PortId};
use crate::model::netns::NetnsFacts;
use crate::model::network_policy::NetworkPolicy;
use crate::model::options::EngineOptions;
use crate::model::service::Service;
use crate::state::addresses::{AddressIndex, Serving};
use crate::state::connections::ConnectionTable;
use crate::state::exceptions::ExceptionRules;
use crate::state::namespaces::Namespaces;
use crate::state::netns::{Netns, NetnsIndex};
use crate::state::pods::PodIndex;
use crate::state::selections::Selection;
use crate::state::service_addresses::ServiceAddresses;
use crate::state::sockets::SocketTable;
use crate::state::storms::{StormScope, StormState};

/// Capacity of the socket table per port of the port table.
const SOCKETS_PER_LISTENER: usize = 4;

/// All facts about the node and its pods.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) sockets: SocketTable,
    pub(crate) netns: NetnsIndex,
    pub(crate) pods: PodIndex,
    pub(crate) services: Selection<Service>,
    pub(crate) service_addresses: ServiceAddresses,
    pub(crate) policies: Selection<NetworkPolicy>,
    pub(crate) namespaces: Namespaces,
    pub(crate) exceptions: ExceptionRules,
    pub(crate) addresses: AddressIndex,
    pub(crate) connections: ConnectionTable,
}

impl Facts {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self {
            sockets: SocketTable::new(options.max_listeners.saturating_mul(SOCKETS_PER_LISTENER)),
            netns: NetnsIndex::default(),
            pods: PodIndex::default(),
            services: Selection::default(),
            service_addresses: ServiceAddresses::default(),
            policies: Selection::default(),
            namespaces: Namespaces::default(),
            exceptions: ExceptionRules::default(),
            addresses: AddressIndex::new(options.pod_ranges.clone(), options.node_ranges.clone()),
            connections: ConnectionTable::new(options.max_connections, options.connection_hold),
        }
    }

    /// The netns that a pod lives in, if a source has reported it.
    pub(crate) fn netns_of(&self, pod: PodKey) -> Option<NetnsId> {
        self.pods.netns(pod, &self.netns)
    }

    /// True if the sockets of the pod's netns were scanned.
    pub(crate) fn is_scanned(&self, pod: PodKey) -> bool {
        self.netns_of(pod).and_then(|netns| self.netns.get(netns)).is_some_and(Netns::is_scanned)
    }

    /// The serving side of a port, for classifying its peers.
    pub(crate) fn serving(&self, netns: NetnsId, pod: Option<PodKey>) -> Serving<'_> {
        let facts: Option<&NetnsFacts> = self.netns.facts(netns).map(Arc::as_ref);
        Serving { pod, facts }
    }

    /// Recomputes whether a pod claims this netns, so that its usage counts towards the unclaimed ones or not.
    pub(crate) fn settle_claim(&mut self, netns: NetnsId) {
        let unclaimed = !self.netns.is_host(netns) && self.pods.in_netns(netns).is_none();
        self.netns.settle_claim(netns, unclaimed);
    }

    /// The storm state of a pod or netns.
    pub(crate) fn storm(&self, scope: StormScope) -> Option<&StormState> {
        match scope {
            StormScope::Pod(key) => self.pods.get(key).map(|record| &record.storm),
            StormScope::Netns(netns) => self.netns.get(netns).map(|netns| &netns.storm),
        }
    }

    /// The same, mutable.
    pub(crate) fn storm_mut(&mut self, scope: StormScope) -> Option<&mut StormState> {
        match scope {
            StormScope::Pod(key) => self.pods.get_mut(key).map(|record| &mut record.storm),
            StormScope::Netns(netns) => self.netns.get_mut(netns).map(|netns| &mut netns.storm),
        }
    }

    /// Forgets what expired by now. Returns the ports that lose their pod.
    pub(crate) fn sweep(&mut self, now: BootTime) -> Vec<PortId> {
        self.sockets.sweep(now);
        self.netns.sweep(now);
        self.addresses.sweep(now, &self.pods);
        let orphans = self.pods.sweep(now);
        for orphan in &orphans {
            self.settle_claim(orphan.netns);
        }
        orphans
    }

    /// When [`Self::sweep`] has something to forget next.
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        let expiries = [
            self.sockets.next_expiry(),
            self.netns.next_expiry(),
            self.pods.next_expiry(),
            self.addresses.next_expiry(),
        ];
        expiries.into_iter().flatten().min()
    }
}
