//! The engine's state, and how it emits changes and counts what did not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use crate::model::change::{Change, Loss};
use crate::model::identity::{BootTime, NetnsId, PortId, Protocol};
use crate::model::network_policy::NetworkPolicy;
use crate::model::options::EngineOptions;
use crate::model::service::Service;
use crate::state::addresses::AddressIndex;
use crate::state::connections::ConnectionTable;
use crate::state::exceptions::ExceptionRules;
use crate::state::findings::FindingStore;
use crate::state::namespaces::Namespaces;
use crate::state::netns::NetnsIndex;
use crate::state::pods::PodIndex;
use crate::state::port::Port;
use crate::state::port_age::PortAges;
use crate::state::selections::Selection;
use crate::state::service_addresses::ServiceAddresses;
use crate::state::sockets::SocketTable;
use crate::state::storms::{StormChange, StormScope, StormState};
use crate::state::timers::{Timer, Timers};
use crate::state::totals::Totals;

/// Sockets that are kept per port that is kept.
const SOCKETS_PER_LISTENER: usize = 4;

/// Ports that are kept per closed one whose age is remembered for a grace time.
const LISTENERS_PER_TENURE: usize = 8;

/// What does not fit is told at most this often.
const REFUSED_INTERVAL: Duration = Duration::from_secs(10);

/// The state of one node, and the only place that decides.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) sockets: SocketTable,
    pub(crate) netns: NetnsIndex,
    pub(crate) pods: PodIndex,
    pub(crate) services: Selection<Service>,
    pub(crate) service_addresses: ServiceAddresses,
    pub(crate) policies: Selection<NetworkPolicy>,
    pub(crate) namespaces: Namespaces,
    /// The operator's exceptions.
    pub(crate) rules: ExceptionRules,
    pub(crate) addresses: AddressIndex,
    pub(crate) ports: BTreeMap<PortId, Box<Port>>,
    /// Ports that have no pod yet.
    pub(crate) unattributed: BTreeSet<PortId>,
    /// Ports without a socket whose last traffic is awaited.
    pub(crate) closing: BTreeSet<PortId>,
    /// Port of each printed id.
    pub(crate) ids: BTreeMap<u64, PortId>,
    pub(crate) findings: FindingStore,
    pub(crate) connections: ConnectionTable,
    pub(crate) timers: Timers,
    pub(crate) totals: Totals,
    /// What happened to storms and is not told yet.
    pub(crate) storms: Vec<(StormScope, StormChange)>,
    /// How often something did not fit since that was told last.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) refused_reported_at: Option<BootTime>,
    /// Ports to judge again before the call ends.
    pub(crate) dirty: BTreeSet<PortId>,
    pub(crate) out: Vec<Change>,
    pub(crate) generation: u64,
    /// Peers that all ports keep together.
    pub(crate) peers: usize,
    /// Ways in that all ports keep together, and the ports that have some.
    pub(crate) nat_paths: usize,
    pub(crate) ports_with_nat_paths: BTreeSet<PortId>,
    pub(crate) last_drain: Option<BootTime>,
    pub(crate) port_ages: PortAges,
}

impl Engine {
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self {
            sockets: SocketTable::new(options.max_listeners.saturating_mul(SOCKETS_PER_LISTENER)),
            netns: NetnsIndex::default(),
            pods: PodIndex::default(),
            services: Selection::default(),
            service_addresses: ServiceAddresses::default(),
            policies: Selection::default(),
            namespaces: Namespaces::default(),
            rules: ExceptionRules::default(),
            addresses: AddressIndex::new(options.pod_ranges.clone(), options.node_ranges.clone()),
            ports: BTreeMap::new(),
            unattributed: BTreeSet::new(),
            closing: BTreeSet::new(),
            ids: BTreeMap::new(),
            findings: FindingStore::default(),
            connections: ConnectionTable::new(options.max_connections, options.connection_hold),
            timers: Timers::default(),
            totals: Totals::default(),
            storms: Vec::new(),
            refused: BTreeMap::new(),
            refused_reported_at: None,
            dirty: BTreeSet::new(),
            out: Vec::new(),
            generation: 0,
            peers: 0,
            nat_paths: 0,
            ports_with_nat_paths: BTreeSet::new(),
            last_drain: None,
            port_ages: PortAges::new(options.max_listeners.div_ceil(LISTENERS_PER_TENURE)),
            options,
        }
    }

    /// Says something that people see.
    pub(crate) fn emit(&mut self, change: Change) {
        self.bump_generation();
        self.out.push(change);
    }

    /// What is listed is no longer what it was.
    pub(crate) fn bump_generation(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    /// Something did not fit: counted at once, told a moment later with all that did not fit in that moment.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.refuse_many(reason, 1);
    }

    pub(crate) fn refuse_many(&mut self, reason: &'static str, more: usize) {
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.totals.lose(reason, more);
            let count = self.refused.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// Tells what did not fit, unless that was done a moment ago: then it is told later.
    pub(crate) fn emit_refused(&mut self, now: BootTime) {
        if self.refused.is_empty() {
            return;
        }
        let due = self.refused_reported_at.map_or(now, |told| told.after(REFUSED_INTERVAL));
        if now < due {
            return self.timers.set(Timer::Refused, Some(due));
        }
        self.refused_reported_at = Some(now);
        for (reason, count) in std::mem::take(&mut self.refused) {
            self.emit(Change::Loss(Loss { reason, count, recovered: false }));
        }
    }

    /// The ports of one netns that are kept.
    pub(crate) fn ports_of(&self, netns: NetnsId) -> Vec<PortId> {
        let from = PortId { netns, protocol: Protocol::Tcp, port: NonZeroU16::MIN };
        let to = PortId { netns, protocol: Protocol::Sctp, port: NonZeroU16::MAX };
        self.ports.range(from..=to).map(|(id, _)| *id).collect()
    }

    pub(crate) fn storm(&self, of: StormScope) -> Option<&StormState> {
        match of {
            StormScope::Pod(key) => self.pods.get(key).map(|record| &record.storm),
            StormScope::Netns(netns) => self.netns.get(netns).map(|netns| &netns.storm),
        }
    }
}
