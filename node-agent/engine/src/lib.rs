//! The decisions: sockets, pods and declarations in, findings out. Nothing here does IO, reads a clock, spawns, locks or
//! fails; the same facts in any order end in the same state.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

pub mod attribution;
pub mod cgroup;
pub mod change;
pub mod connection_intake;
pub mod connection_table;
pub mod counts;
pub mod crowd;
pub mod declaration;
pub mod declared_ports;
pub mod door;
pub mod evaluate;
pub mod exception;
pub mod exception_annotation;
pub mod expected;
pub mod explain;
pub mod explanation;
pub mod finding_code;
pub mod finding_store;
pub mod fingerprint;
pub mod identity;
pub mod input;
pub mod intake;
pub mod isolation;
pub mod judge;
pub mod listings;
pub mod mesh;
pub mod message;
pub mod namespace;
pub mod netns_index;
pub mod network_policy;
pub mod options;
pub mod origin;
pub mod outline;
pub mod plain_text;
pub mod pod;
pub mod pod_index;
pub mod pod_merge;
pub mod pod_record;
pub mod policy_basis;
pub mod port;
pub mod room;
pub mod selection;
pub mod service;
pub mod socket_table;
pub mod suppression;
pub mod tenure;
pub mod timers;
pub mod traffic;
pub mod view;
pub mod way_in;

use change::Change;
use connection_table::ConnectionTable;
use counts::Totals;
use crowd::{CrowdOf, Turn};
use door::Doors;
use exception::Rules;
use finding_store::FindingStore;
use identity::{BootTime, PortId};
use input::Input;
use namespace::Namespaces;
use netns_index::NetnsIndex;
use network_policy::NetworkPolicy;
use options::EngineOptions;
use origin::AddressBook;
use pod_index::PodIndex;
use port::Port;
use selection::Selection;
use service::Service;
use socket_table::SocketTable;
use tenure::Tenures;
use timers::{Timer, Timers};

/// Sockets that are kept per port that is kept.
const SOCKETS_PER_LISTENER: usize = 4;

/// Ports that are kept per closed one whose age is remembered for a grace time.
const LISTENERS_PER_TENURE: usize = 8;

/// The state of one node, and the only place that decides.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    sockets: SocketTable,
    netns: NetnsIndex,
    pods: PodIndex,
    services: Selection<Service>,
    doors: Doors,
    policies: Selection<NetworkPolicy>,
    namespaces: Namespaces,
    /// The operator's exceptions.
    rules: Rules,
    addresses: AddressBook,
    ports: BTreeMap<PortId, Box<Port>>,
    /// Ports that have no pod yet.
    unattributed: BTreeSet<PortId>,
    /// Ports without a socket whose last traffic is awaited.
    closing: BTreeSet<PortId>,
    /// Port of each printed id.
    ids: BTreeMap<u64, PortId>,
    findings: FindingStore,
    connections: ConnectionTable,
    timers: Timers,
    totals: Totals,
    /// What happened to storms and is not told yet.
    storms: Vec<(CrowdOf, Turn)>,
    /// How often something did not fit since that was told last.
    refused: BTreeMap<&'static str, u64>,
    refused_told_at: Option<BootTime>,
    /// Ports to judge again before the call ends.
    dirty: BTreeSet<PortId>,
    out: Vec<Change>,
    generation: u64,
    /// Peers that all ports keep together.
    peers: usize,
    /// Ways in that all ports keep together, and the ports that have some.
    ways: usize,
    entered: BTreeSet<PortId>,
    last_drain: Option<BootTime>,
    tenures: Tenures,
}

impl Engine {
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self {
            sockets: SocketTable::new(options.max_listeners.saturating_mul(SOCKETS_PER_LISTENER)),
            netns: NetnsIndex::default(),
            pods: PodIndex::default(),
            services: Selection::default(),
            doors: Doors::default(),
            policies: Selection::default(),
            namespaces: Namespaces::default(),
            rules: Rules::default(),
            addresses: AddressBook::new(options.pod_ranges.clone(), options.node_ranges.clone()),
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
            refused_told_at: None,
            dirty: BTreeSet::new(),
            out: Vec::new(),
            generation: 0,
            peers: 0,
            ways: 0,
            entered: BTreeSet::new(),
            last_drain: None,
            tenures: Tenures::new(options.max_listeners.div_ceil(LISTENERS_PER_TENURE)),
            options,
        }
    }

    /// Takes one fact in and says what it changed.
    pub fn apply(&mut self, input: Input, now: BootTime) -> Vec<Change> {
        match input {
            Input::SocketOpened(opened) => self.socket_opened(opened, now),
            Input::SocketClosed { netns, cookie, at } => self.socket_closed(netns, cookie, at, now),
            Input::NetnsScanned(scan) => self.netns_scanned(scan, now),
            Input::NetnsSeen { facts, at } => self.netns_seen(facts, at, now),
            Input::NetnsGone { netns, at } => self.netns_gone(netns, at, now),
            Input::Pods { source, pods } => self.pods_listed(source, pods, now),
            Input::PodChanged { source, pod } => self.pod_changed(source, *pod, now),
            Input::PodGone { source, uid } => self.pod_gone(source, &uid, now),
            Input::Services(listing) => self.services_told(listing, now),
            Input::NetworkPolicies(listing) => self.policies_told(listing, now),
            Input::Namespaces(listing) => self.namespaces_told(listing, now),
            Input::Exceptions(rules) => self.exceptions_told(rules, now),
            Input::Traffic(drain) => self.traffic_drained(drain, now),
            Input::Connections(facts) => self.connections_recorded(&facts, now),
            Input::Lost { reason, count, recovered } => self.lost(reason, count, recovered),
        }
        self.finish(now)
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: BootTime) -> Vec<Change> {
        self.tick_some(usize::MAX, now)
    }

    /// The same for as many deadlines at most: what is told of thousands of ports at once would take its room at once, too.
    pub fn tick_some(&mut self, most: usize, now: BootTime) -> Vec<Change> {
        for _ in 0..most {
            let Some(timer) = self.timers.pop_due(now) else { break };
            match timer {
                Timer::Port(port) => self.judge(port, now),
                Timer::Pod(pod) => self.check_pod(pod, now),
                Timer::Exceptions => self.exceptions_run_out(now),
                Timer::Connections => self.tell_held_connections(now),
                // Told below.
                Timer::Refused => {}
                Timer::Sweep => self.sweep(now),
            }
            self.tell_storms(now);
        }
        self.finish(now)
    }

    /// When `tick` has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.timers.next()
    }

    fn sweep(&mut self, now: BootTime) {
        self.sockets.sweep(now);
        self.netns.sweep(now);
        self.tenures.sweep(now);
        self.addresses.sweep(now, &self.pods);
        let orphans = self.pods.sweep(now);
        for orphan in &orphans {
            self.settle_home(orphan.netns);
        }
        self.dirty.extend(orphans);
    }

    /// Settles what the call touched and hands the changes over.
    fn finish(&mut self, now: BootTime) -> Vec<Change> {
        if !self.dirty.is_empty() {
            // Also what is judged the same may be shown differently: how many sockets, whose names.
            self.renew();
        }
        while let Some(port) = self.dirty.pop_first() {
            self.judge(port, now);
            self.tell_storms(now);
        }
        self.tell_refused(now);
        let expiries = [
            self.sockets.next_expiry(),
            self.netns.next_expiry(),
            self.tenures.next_expiry(),
            self.pods.next_expiry(),
            self.addresses.next_expiry(),
        ];
        let next = expiries.into_iter().flatten().min();
        self.timers.set(Timer::Sweep, next);
        std::mem::take(&mut self.out)
    }

    /// Says something that people see.
    fn tell(&mut self, change: Change) {
        self.renew();
        self.out.push(change);
    }

    /// What is listed is no longer what it was.
    fn renew(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }
}
