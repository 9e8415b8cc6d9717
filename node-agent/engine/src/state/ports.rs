//! The port table, and the indexes and sums over it. A port and the indexes can be borrowed mutably at the same time, so
//! a port stays in the table while it is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::Bound;

use crate::model::identity::{BootTime, NetnsId, PortId, Protocol};
use crate::model::traffic::{Dialled, PortDelta};
use crate::state::nat_paths::NatPaths;
use crate::state::port::Port;
use crate::state::port_age::{PortAge, PortAges};
use crate::state::redirects::Redirects;

/// Maximum number of NAT paths that all ports keep together.
const MAX_ALL_NAT_PATHS: usize = 16_384;

/// Capacity of the port table per closed port whose age is remembered for a grace time.
const LISTENERS_PER_AGE: usize = 8;

/// All ports of the node.
#[derive(Debug)]
pub(crate) struct Ports {
    table: BTreeMap<PortId, Box<Port>>,
    index: PortIndexes,
}

/// Indexes and sums over the port table.
#[derive(Debug)]
pub(crate) struct PortIndexes {
    /// Ports that are attributed to no pod.
    unattributed: BTreeSet<PortId>,
    /// Ports without a socket that wait for their last traffic.
    closing: BTreeSet<PortId>,
    /// The port behind each reported id.
    ids: BTreeMap<u64, PortId>,
    /// Number of peers that all ports keep together.
    peers: usize,
    /// Number of NAT paths that all ports keep together.
    nat_paths: usize,
    with_nat_paths: BTreeSet<PortId>,
    last_drain: Option<BootTime>,
    ages: PortAges,
    /// Redirected ports by their target.
    pub redirects: Redirects,
    /// Ports of a pod whose process runs in no container of that pod.
    strangers: BTreeSet<PortId>,
    /// Explained ports whose policies list callers by labels or addresses.
    selective: BTreeSet<PortId>,
    /// Traffic that is to be counted for another port, with the time of its last drain.
    folded: Vec<(PortId, PortDelta, BootTime)>,
}

impl Ports {
    /// An empty table for at most `max_listeners` ports; the caller enforces that bound.
    pub(crate) fn new(max_listeners: usize) -> Self {
        let index = PortIndexes {
            unattributed: BTreeSet::new(),
            closing: BTreeSet::new(),
            ids: BTreeMap::new(),
            peers: 0,
            nat_paths: 0,
            with_nat_paths: BTreeSet::new(),
            last_drain: None,
            redirects: Redirects::default(),
            strangers: BTreeSet::new(),
            selective: BTreeSet::new(),
            folded: Vec::new(),
            ages: PortAges::new(max_listeners.div_ceil(LISTENERS_PER_AGE)),
        };
        Self { table: BTreeMap::new(), index }
    }

    pub(crate) fn get(&self, id: PortId) -> Option<&Port> {
        self.table.get(&id).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.table.get_mut(&id).map(Box::as_mut)
    }

    /// A port together with the indexes, both mutable.
    pub(crate) fn split(&mut self, id: PortId) -> Option<(&mut Port, &mut PortIndexes)> {
        Some((self.table.get_mut(&id)?, &mut self.index))
    }

    pub(crate) const fn index(&self) -> &PortIndexes {
        &self.index
    }

    pub(crate) const fn index_mut(&mut self) -> &mut PortIndexes {
        &mut self.index
    }

    pub(crate) fn contains(&self, id: PortId) -> bool {
        self.table.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.table.iter().map(|(id, port)| (*id, port.as_ref()))
    }

    /// The ports of one netns.
    pub(crate) fn of_netns(&self, netns: NetnsId) -> Vec<PortId> {
        let from = PortId { netns, protocol: Protocol::Tcp, port: NonZeroU16::MIN };
        let to = PortId { netns, protocol: Protocol::Sctp, port: NonZeroU16::MAX };
        self.table.range(from..=to).map(|(id, _)| *id).collect()
    }

    /// Adds a port that is not in the table, with its remembered age.
    pub(crate) fn insert(&mut self, id: PortId, now: BootTime) {
        let port = Port { age: self.index.ages.take(id), ..Port::new(now) };
        self.table.insert(id, Box::new(port));
        self.index.unattributed.insert(id);
    }

    /// Removes a port from the table and from every index.
    pub(crate) fn remove(&mut self, id: PortId) {
        let Some(port) = self.table.remove(&id) else { return };
        let index = &mut self.index;
        index.unattributed.remove(&id);
        index.closing.remove(&id);
        index.strangers.remove(&id);
        index.selective.remove(&id);
        if let Some((_, target)) = port.redirect {
            index.redirects.remove(id, PortId { port: target, ..id });
        }
        index.peers = index.peers.saturating_sub(port.traffic().peer_count());
        if let Some(paths) = &port.nat_paths {
            index.nat_paths = index.nat_paths.saturating_sub(paths.len());
            index.with_nat_paths.remove(&id);
        }
    }

    /// The port that was reported under this id and is not closed.
    pub(crate) fn reported_as(&self, id: u64) -> Option<(PortId, &Port)> {
        let port = *self.index.ids.get(&id)?;
        Some((port, self.get(port)?))
    }

    /// The reported ports after this id, in the order of ids.
    pub(crate) fn reported_after(&self, id: Option<u64>) -> impl Iterator<Item = (u64, PortId, &Port)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.index.ids.range((from, Bound::Unbounded));
        ids.filter_map(|(id, port)| Some((*id, *port, self.get(*port)?)))
    }

    /// Records through which address a peer reached a port. True if there is something new to settle.
    pub(crate) fn add_nat_path(&mut self, id: PortId, peer: IpAddr, dialled: Dialled, at: BootTime) -> bool {
        let Some(port) = self.table.get_mut(&id) else { return false };
        let index = &mut self.index;
        let paths = port.nat_paths.get_or_insert_default();
        let before = paths.len();
        let is_new = paths.add(peer, dialled, at, MAX_ALL_NAT_PATHS.saturating_sub(index.nat_paths));
        index.nat_paths = index.nat_paths.saturating_sub(before).saturating_add(paths.len());
        if is_new {
            index.with_nat_paths.insert(id);
        }
        is_new
    }

    /// Marks the affected NAT paths to be traced again. Returns their ports.
    pub(crate) fn retrace_nat_paths(&mut self, is_affected: impl Fn(&NatPaths) -> bool) -> Vec<PortId> {
        let mut retraced = Vec::new();
        for id in &self.index.with_nat_paths {
            let paths = self.table.get_mut(id).and_then(|port| port.nat_paths.as_deref_mut());
            if let Some(paths) = paths.filter(|paths| is_affected(paths)) {
                paths.retrace();
                retraced.push(*id);
            }
        }
        retraced
    }
}

fn set_member(set: &mut BTreeSet<PortId>, id: PortId, is_member: bool) {
    if is_member {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}

impl PortIndexes {
    /// Ports that are attributed to no pod.
    pub(crate) fn unattributed(&self) -> impl Iterator<Item = PortId> {
        self.unattributed.iter().copied()
    }

    pub(crate) fn set_attributed(&mut self, id: PortId, is_attributed: bool) {
        set_member(&mut self.unattributed, id, !is_attributed);
    }

    /// Ports of a pod whose process runs in no container of that pod.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = PortId> {
        self.strangers.iter().copied()
    }

    /// Notes whether the process of a port runs in no container of the port's pod.
    pub(crate) fn set_strange(&mut self, id: PortId, is_strange: bool) {
        set_member(&mut self.strangers, id, is_strange);
    }

    /// Explained ports whose policies list callers by labels or addresses.
    pub(crate) fn selective(&self) -> impl Iterator<Item = PortId> {
        self.selective.iter().copied()
    }

    /// Notes whether policies list the callers of an explained port.
    pub(crate) fn set_selective(&mut self, id: PortId, is_selective: bool) {
        set_member(&mut self.selective, id, is_selective);
    }

    /// Queues the traffic of a port to be counted for another one.
    pub(crate) fn fold(&mut self, to: PortId, delta: PortDelta, at: BootTime) {
        self.folded.push((to, delta, at));
    }

    /// Takes traffic that [`Self::fold`] queued.
    pub(crate) fn next_folded(&mut self) -> Option<(PortId, PortDelta, BootTime)> {
        self.folded.pop()
    }

    /// Returns true if another port is reported under this id now.
    pub(crate) fn is_taken_over(&self, id: u64, port: PortId) -> bool {
        self.ids.get(&id).is_some_and(|holder| *holder != port)
    }

    /// Ports without a socket that wait for their last traffic.
    pub(crate) fn closing(&self) -> impl Iterator<Item = PortId> {
        self.closing.iter().copied()
    }

    /// Marks a port as waiting for its last traffic.
    pub(crate) fn begin_closing(&mut self, id: PortId) {
        self.closing.insert(id);
    }

    /// True if the port was waiting for its last traffic.
    pub(crate) fn end_closing(&mut self, id: PortId) -> bool {
        self.closing.remove(&id)
    }

    /// Notes that a port is reported under this id from now on.
    pub(crate) fn claim_id(&mut self, id: u64, port: PortId) {
        self.ids.insert(id, port);
    }

    /// Notes that a port is no longer reported under this id. Another port's claim on the id stays.
    pub(crate) fn release_id(&mut self, id: u64, port: PortId) {
        if self.ids.get(&id) == Some(&port) {
            self.ids.remove(&id);
        }
    }

    /// Number of peers that all ports keep together.
    pub(crate) const fn peers(&self) -> usize {
        self.peers
    }

    pub(crate) fn add_peers(&mut self, more: usize) {
        self.peers = self.peers.saturating_add(more);
    }

    pub(crate) const fn last_drain(&self) -> Option<BootTime> {
        self.last_drain
    }

    pub(crate) fn drained_at(&mut self, at: BootTime) {
        self.last_drain = self.last_drain.max(Some(at));
    }

    /// Remembers the age of a closed port until then. False if there is no room.
    pub(crate) fn keep_age(&mut self, id: PortId, age: PortAge, until: BootTime) -> bool {
        self.ages.keep(id, age, until)
    }

    /// Forgets expired ages of closed ports.
    pub(crate) fn sweep(&mut self, now: BootTime) {
        self.ages.sweep(now);
    }

    /// When [`Self::sweep`] has something to forget next.
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.ages.next_expiry()
    }
}
