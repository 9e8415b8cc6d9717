//! Everything that sources reported, one index per kind of fact. Each index guards its own fields; they lie side by side
//! here so that borrows of different indexes do not conflict.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::identity::{BootTime, NetnsId, PodKey, PortId, Protocol, ProtocolPort};
use crate::model::listener::ServedBy;
use crate::model::netns::NetnsFacts;
use crate::model::network_policy::NetworkPolicy;
use crate::model::options::EngineOptions;
use crate::model::pod::Container;
use crate::model::process::Process;
use crate::model::selector::Selects;
use crate::model::service::Service;
use crate::rules::audience::{Caller, KnownLabels, PortAudience};
use crate::rules::container_match::container;
use crate::rules::manifests::ServedPort;
use crate::state::addresses::{AddressIndex, Serving};
use crate::state::connections::ConnectionTable;
use crate::state::exceptions::ExceptionRules;
use crate::state::named_targets::NamedTargets;
use crate::state::namespaces::Namespaces;
use crate::state::netns::{Netns, NetnsIndex};
use crate::state::pods::PodIndex;
use crate::state::port::Port;
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
    pub(crate) named_targets: NamedTargets,
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
            named_targets: NamedTargets::default(),
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

    /// True for a port of a pod that is expected and not served, and that the kernel side counts nevertheless.
    pub(crate) fn awaits(&self, id: PortId) -> bool {
        let pod = self.pods.in_netns(id.netns).filter(|_| !self.netns.is_host(id.netns));
        let record = pod.and_then(|pod| self.pods.get(pod));
        id.protocol == Protocol::Tcp
            && record.is_some_and(|record| record.unserved.get((id.protocol, id.port)).is_some())
    }

    /// True if a virtual machine runs in the pod's netns, whose sockets this kernel does not see.
    pub(crate) fn has_guest(&self, pod: PodKey) -> bool {
        let facts = self.netns_of(pod).and_then(|netns| self.netns.facts(netns));
        facts.is_some_and(|facts| facts.has_guest && !facts.is_host)
    }

    /// The serving side of a port, for classifying its peers.
    pub(crate) fn serving(&self, netns: NetnsId, pod: Option<PodKey>) -> Serving<'_> {
        let facts: Option<&NetnsFacts> = self.netns.facts(netns).map(Arc::as_ref);
        Serving { pod, facts }
    }

    /// The pod's own IPv4 and IPv6 address: what its sources report, else the first of its netns.
    pub(crate) fn own_addresses(
        &self,
        netns: NetnsId,
        pod: Option<PodKey>,
    ) -> (Option<IpAddr>, Option<IpAddr>) {
        let record = pod.and_then(|pod| self.pods.get(pod));
        let reported = record.into_iter().flat_map(|record| record.pod.addresses.iter().copied());
        let configured = self.netns.facts(netns).into_iter().flat_map(|facts| &facts.addresses);
        let configured = configured.map(IpNet::addr);
        let mut all =
            reported.chain(configured).filter(|address| !address.is_loopback() && !is_link_local(*address));
        let first = all.next();
        let other = all.find(|address| first.is_some_and(|first| first.is_ipv4() != address.is_ipv4()));
        match first {
            Some(IpAddr::V6(_)) => (other, first),
            _ => (first, other),
        }
    }

    /// A port as the rules about declarations need it.
    pub(crate) fn served_port<'a>(&'a self, id: PortId, port: &'a Port) -> ServedPort<'a> {
        self.served(id, port.representative(), port.served_from)
    }

    /// The same, from a process that represents those of the port, and the other pod that this process runs in.
    pub(crate) fn served<'a>(
        &'a self,
        id: PortId,
        process: Option<&'a Process>,
        served_from: Option<PodKey>,
    ) -> ServedPort<'a> {
        let served_from = served_from.and_then(|pod| self.pods.get(pod)).map(|record| &*record.pod);
        let checks_for = self
            .service_addresses
            .health_check(id.protocol, id.port)
            .filter(|_| self.netns.is_host(id.netns));
        ServedPort { protocol: id.protocol, port: id.port, process, served_from, checks_for }
    }

    /// Returns a test whether a policy that explains a pod's port lists a caller, or may. What the policies list is collected
    /// once, for the first caller.
    pub(crate) fn is_listed(
        &self,
        pod: Option<PodKey>,
        (protocol, port): ProtocolPort,
    ) -> impl Fn(Caller<'_>) -> bool {
        let listed = OnceCell::new();
        move |caller| {
            let listed = listed.get_or_init(|| {
                let record = pod.and_then(|pod| self.pods.get(pod))?;
                Some(PortAudience::listed(record.manifests(), protocol, port))
            });
            listed.as_ref().is_some_and(|listed| listed.lists(caller, self) != Selects::No)
        }
    }

    /// The container that serves a port, if that is certain: every process that can be reached runs in it. It may be
    /// another pod's (see [`Port::served_from`]).
    pub(crate) fn container(&self, port: &Port) -> Option<&Container> {
        if port.served_by() != ServedBy::Process {
            return None;
        }
        let pod = &self.pods.get(port.served_from.or(port.pod)?)?.pod;
        let bindings = port.bindings.as_ref()?;
        let mut containers = bindings.reachable().map(|process| container(pod, process));
        let first = containers.next().flatten()?;
        containers.all(|other| other.is_some_and(|other| std::ptr::eq(other, first))).then_some(first)
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
            StormScope::QuietPod(key) => self.pods.get(key).map(|record| &record.quiet_storm),
            StormScope::Netns(netns) => self.netns.get(netns).map(|netns| &netns.storm),
        }
    }

    /// The same, mutable.
    pub(crate) fn storm_mut(&mut self, scope: StormScope) -> Option<&mut StormState> {
        match scope {
            StormScope::Pod(key) => self.pods.get_mut(key).map(|record| &mut record.storm),
            StormScope::QuietPod(key) => self.pods.get_mut(key).map(|record| &mut record.quiet_storm),
            StormScope::Netns(netns) => self.netns.get_mut(netns).map(|netns| &mut netns.storm),
        }
    }

    /// Forgets what expired by now. Returns the ports that lose their pod.
    pub(crate) fn sweep(&mut self, now: BootTime) -> Vec<PortId> {
        self.sockets.sweep(now);
        self.netns.sweep(now);
        self.connections.undecided.sweep(now);
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
            self.connections.undecided.next_expiry(),
        ];
        expiries.into_iter().flatten().min()
    }
}

impl KnownLabels for Facts {
    fn of_pod(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        self.pods.get(self.pods.by_name(namespace, name)?).map(|record| &record.pod.labels)
    }

    fn of_namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name).map(|namespace| &namespace.labels)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
