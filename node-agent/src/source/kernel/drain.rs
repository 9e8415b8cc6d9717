//! Computes the growth of the kernel's counters since the last drain. Sums the per-CPU values, adds the counts that the
//! programs hold per flow and have not yet added to the maps, and subtracts what was reported before. An entry that the
//! LRU evicted and that was created again is recognised by its creation time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroU16;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use portolan_ebpf::abi::traffic::{
    EVERYBODY, PEER_ADDRESSED, PEER_CALLED, PEER_UNPROVEN, PeerCounters, PeerKey, PortCounters, PortKey,
};
use portolan_engine::model::identity::{BootTime, PortId};
use portolan_engine::model::traffic::{PeerDelta, PortDelta, TrafficDrain};
use zerocopy::{FromBytes, IntoBytes};

use super::batch::{BatchReader, take};
use super::decode::{address, port_id};
use super::flows::{FlowReader, Pending};
use super::peer_memory::PeerMemory;

/// Number of entries per system call.
const BATCH: usize = 512;
/// Spare capacity for ports, in entries, below which memory is not given back.
const SPARE_CAPACITY: usize = 4096;
/// Time after which an unproven peer of a port below [`FIRST_EPHEMERAL`] counts as a caller: the two never paused for
/// long enough to show who asks, and clients rarely use such a port for so long.
const UNPROVEN_GRACE: Duration = Duration::from_secs(10);
/// First port that sockets without a port of their own get, unless a netns sets another.
const FIRST_EPHEMERAL: u16 = 32_768;
/// Time after which a counted port that the engine does not know counts as lost: the records about it never arrived.
/// Far longer than the ring and the queue behind it hold records.
const UNKNOWN_PORT_GRACE: Duration = Duration::from_secs(10);

/// An entry of `PORT_STATS` for which a flow may be pending.
#[derive(Clone, Debug, Default)]
struct Entry {
    counters: PortCounters,
    /// Generation of the entry by CPU; only for CPUs that have one.
    generations: Vec<(usize, u32)>,
}

/// An entry that was removed from the map, for which counts may still be pending.
#[derive(Clone, Debug)]
struct Removed {
    key: PortKey,
    entry: Entry,
    reported: PortCounters,
}

/// Counters of the ports and peers that have flows. They are reported once the pending counts are read.
#[derive(Debug, Default)]
struct Deferred {
    ports: HashMap<PortKey, Option<Entry>>,
    peers: HashMap<PeerKey, Option<PeerCounters>>,
}

/// State between drains: what was reported of each port and peer.
#[derive(Debug)]
pub struct Drain {
    ports: HashMap<PortKey, PortCounters>,
    peers: PeerMemory,
    /// Growth of the ports that were removed since the last drain.
    removed_growth: BTreeMap<PortId, PortDelta>,
    removed: Vec<Removed>,
    /// Counted ports that the engine does not know, and since when.
    unknown: HashMap<PortKey, BootTime>,
    /// The kernel's change counter at the last drain; `None` if that drain was incomplete.
    changes: Option<u64>,
    /// Number of the current drain; marks the peers that it saw.
    number: u16,
    cpus: usize,
    port_reader: BatchReader,
    peer_reader: BatchReader,
    flow_reader: FlowReader,
}

/// The maps that are drained.
#[derive(Clone, Copy, Debug)]
pub struct CounterMaps<'a> {
    pub ports: BorrowedFd<'a>,
    pub peers: BorrowedFd<'a>,
    pub flows: BorrowedFd<'a>,
}

impl Drain {
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        let cpus = cpus.max(1);
        Self {
            ports: HashMap::new(),
            peers: PeerMemory::default(),
            removed_growth: BTreeMap::new(),
            removed: Vec::new(),
            unknown: HashMap::new(),
            changes: None,
            number: 0,
            cpus,
            port_reader: BatchReader::new(size_of::<PortKey>(), size_of::<PortCounters>() * cpus, BATCH),
            peer_reader: BatchReader::new(size_of::<PeerKey>(), size_of::<PeerCounters>(), BATCH),
            flow_reader: FlowReader::new(cpus),
        }
    }

    /// Returns the number of entries of `PORT_STATS` at the last drain that read the map.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Returns the ports that are counted although the engine has not known them for [`UNKNOWN_PORT_GRACE`]. Returns
    /// each port once.
    pub fn take_unknown_ports(&mut self, is_known: impl Fn(PortId) -> bool, at: BootTime) -> Vec<PortId> {
        let Self { ports, unknown, .. } = self;
        let not_known =
            ports.keys().filter_map(|key| Some((*key, port_id(key).ok()?))).filter(|(_, id)| !is_known(*id));
        let since = |key: &PortKey| unknown.get(key).copied().unwrap_or(at);
        let (old, new): (Vec<_>, Vec<_>) = not_known
            .map(|(key, id)| (key, id, since(&key)))
            .partition(|(.., since)| at >= since.after(UNKNOWN_PORT_GRACE));
        *unknown = new.into_iter().map(|(key, _, since)| (key, since)).collect();
        old.into_iter().map(|(_, id, _)| id).collect()
    }

    /// Reads the maps and returns everything that grew, and the peers of ports that are not counted any more, which the
    /// caller deletes. `changes` is the kernel's change counter, read before; if it did not move, nothing is read.
    ///
    /// # Errors
    /// The error of bpf(2). What was read until then is part of the next drain.
    pub fn run(
        &mut self,
        maps: CounterMaps<'_>,
        changes: u64,
        at: BootTime,
    ) -> io::Result<(TrafficDrain, Vec<PeerKey>)> {
        let mut drain = TrafficDrain { at, ports: std::mem::take(&mut self.removed_growth) };
        if self.changes == Some(changes) {
            self.removed.clear();
            return Ok((drain, Vec::new()));
        }
        self.number = self.number.wrapping_add(1);
        match self.read(maps, &mut drain) {
            Ok((orphans, complete)) => {
                self.changes = complete.then_some(changes);
                Ok((drain, orphans))
            }
            Err(error) => {
                self.removed_growth = drain.ports;
                Err(error)
            }
        }
    }

    /// Reads the maps first, then the pending counts. Counts that a program moves to the maps in between are missed
    /// until the next drain and never doubled. A sum may therefore be smaller than what was reported; nothing is
    /// reported then.
    fn read(&mut self, maps: CounterMaps<'_>, drain: &mut TrafficDrain) -> io::Result<(Vec<PeerKey>, bool)> {
        let mut deferred = Deferred::default();
        for key in self.flow_reader.active(maps.flows)? {
            deferred.ports.insert(key.port, None);
            deferred.peers.insert(key, None);
        }
        self.read_ports(maps.ports, drain, &mut deferred)?;
        let (mut orphans, has_unproven) = self.read_peers(maps.peers, drain, &mut deferred)?;
        let (pending, complete) = self.flow_reader.read(maps.flows)?;
        self.report_removed(&pending, drain);
        for (key, entry) in deferred.ports {
            if let Some(entry) = entry {
                let now = with_pending(&key, &entry, &pending);
                report_port(&mut self.ports, drain, key, now);
            }
        }
        for (key, counters) in deferred.peers {
            if let Some(counters) = counters {
                let now = with_pending_peer(&key, counters, &pending);
                let orphan = report_peer(&mut self.peers, &self.ports, drain, key, now, self.number);
                orphans.extend(orphan.then_some(key));
            }
        }
        self.peers.retain(self.number);
        // An unproven peer may become a caller although no counter changes.
        Ok((orphans, complete && !has_unproven))
    }

    fn read_ports(
        &mut self,
        map: BorrowedFd<'_>,
        drain: &mut TrafficDrain,
        deferred: &mut Deferred,
    ) -> io::Result<()> {
        let Self { ports, port_reader, .. } = self;
        port_reader.read(map, |key, value| {
            let Ok(key) = PortKey::read_from_bytes(key) else { return };
            if let Some(entry) = deferred.ports.get_mut(&key) {
                ports.entry(key).or_default();
                *entry = Some(Entry { counters: sum(value), generations: generations(value) });
            } else {
                report_port(ports, drain, key, sum(value));
            }
        })
    }

    fn read_peers(
        &mut self,
        map: BorrowedFd<'_>,
        drain: &mut TrafficDrain,
        deferred: &mut Deferred,
    ) -> io::Result<(Vec<PeerKey>, bool)> {
        let (mut orphans, mut has_unproven) = (Vec::new(), false);
        let Self { ports, peers, peer_reader, number, .. } = self;
        let at = drain.at;
        peer_reader.read(map, |key, value| {
            let (Ok(key), Ok(mut now)) =
                (PeerKey::read_from_bytes(key), PeerCounters::read_from_bytes(value))
            else {
                return;
            };
            if now.direction == PEER_UNPROVEN {
                now.direction = assumed_direction(&key, &now, at);
                has_unproven |= now.direction == PEER_UNPROVEN && may_be_assumed(&key, &now);
            }
            if let Some(counters) = deferred.peers.get_mut(&key) {
                *counters = Some(now);
            } else if report_peer(peers, ports, drain, key, now, *number) {
                orphans.push(key);
            }
        })?;
        Ok((orphans, has_unproven))
    }

    /// Reports what is pending of entries that were removed since the last drain.
    fn report_removed(&mut self, pending: &[Pending], drain: &mut TrafficDrain) {
        for Removed { key, entry, reported } in self.removed.drain(..) {
            let delta = growth(&with_pending(&key, &entry, pending), &reported);
            if let (Ok(port), Some(delta)) = (port_id(&key), delta) {
                add(drain.ports.entry(port).or_default(), &delta);
            }
        }
    }

    /// Returns the number of peers that the last drain found.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Removes a port's counters from the map; their growth is part of the next drain. Returns false if there were
    /// none.
    ///
    /// # Errors
    /// The error of bpf(2).
    pub fn take_port(&mut self, map: BorrowedFd<'_>, key: &PortKey) -> io::Result<bool> {
        let mut value = vec![0; size_of::<PortCounters>() * self.cpus];
        let taken = take(map, key.as_bytes(), &mut value)?;
        let reported = self.ports.remove(key).unwrap_or_default();
        if self.ports.capacity() > 2 * self.ports.len() + SPARE_CAPACITY {
            self.ports.shrink_to(self.ports.len() + SPARE_CAPACITY / 2);
        }
        if taken.is_none() {
            return Ok(false);
        }
        let entry = Entry { counters: sum(&value), generations: generations(&value) };
        if let (Ok(port), Some(delta)) = (port_id(key), growth(&entry.counters, &reported)) {
            add(self.removed_growth.entry(port).or_default(), &delta);
        }
        if !entry.generations.is_empty() {
            let reported = highest(&entry.counters, &reported);
            self.removed.push(Removed { key: *key, entry, reported });
        }
        Ok(true)
    }
}

fn per_cpu(value: &[u8]) -> impl Iterator<Item = PortCounters> {
    value.chunks_exact(size_of::<PortCounters>()).filter_map(|cpu| PortCounters::read_from_bytes(cpu).ok())
}

fn sum(value: &[u8]) -> PortCounters {
    per_cpu(value).fold(PortCounters::default(), |sum, cpu| PortCounters {
        attempts: sum.attempts.wrapping_add(cpu.attempts),
        connections: sum.connections.wrapping_add(cpu.connections),
        packets: sum.packets.wrapping_add(cpu.packets),
        bytes: sum.bytes.wrapping_add(cpu.bytes),
        generation: 0,
        peers_created: sum.peers_created.wrapping_add(cpu.peers_created),
    })
}

fn generations(value: &[u8]) -> Vec<(usize, u32)> {
    per_cpu(value)
        .enumerate()
        .map(|(cpu, counters)| (cpu, counters.generation))
        .filter(|(_, generation)| *generation != 0)
        .collect()
}

fn with_pending(key: &PortKey, entry: &Entry, pending: &[Pending]) -> PortCounters {
    let own =
        |flow: &&Pending| flow.key.port == *key && entry.generations.contains(&(flow.cpu, flow.generation));
    pending.iter().filter(own).fold(entry.counters, |sum, flow| PortCounters {
        packets: sum.packets.wrapping_add(flow.packets),
        bytes: sum.bytes.wrapping_add(flow.bytes),
        ..sum
    })
}

fn with_pending_peer(key: &PeerKey, counters: PeerCounters, pending: &[Pending]) -> PeerCounters {
    let own = |flow: &&Pending| flow.key == *key && flow.peer_first_boot_ns == counters.first_boot_ns;
    pending.iter().filter(own).fold(counters, |sum, flow| PeerCounters {
        packets: sum.packets.wrapping_add(flow.packets),
        bytes: sum.bytes.wrapping_add(flow.bytes),
        ..sum
    })
}

fn report_port(
    ports: &mut HashMap<PortKey, PortCounters>,
    drain: &mut TrafficDrain,
    key: PortKey,
    now: PortCounters,
) {
    let reported = ports.entry(key).or_default();
    let delta = growth(&now, reported);
    *reported = highest(&now, reported);
    if let (Ok(port), Some(delta)) = (port_id(&key), delta) {
        add(drain.ports.entry(port).or_default(), &delta);
    }
}

/// Returns the direction of an unproven peer, as far as it can be assumed.
fn assumed_direction(key: &PeerKey, peer: &PeerCounters, at: BootTime) -> u8 {
    let is_old = at >= BootTime(peer.first_boot_ns).after(UNPROVEN_GRACE);
    if is_old && may_be_assumed(key, peer) { PEER_CALLED } else { PEER_UNPROVEN }
}

/// Returns true for an unproven peer that time alone makes a caller.
const fn may_be_assumed(key: &PeerKey, peer: &PeerCounters) -> bool {
    key.port.port < FIRST_EPHEMERAL && has_traffic(peer)
}

const fn has_traffic(peer: &PeerCounters) -> bool {
    peer.attempts != 0 || peer.packets != 0
}

/// Reports the growth of a peer. Returns true if the peer did not grow and its port is not counted any more.
fn report_peer(
    peers: &mut PeerMemory,
    ports: &HashMap<PortKey, PortCounters>,
    drain: &mut TrafficDrain,
    key: PeerKey,
    now: PeerCounters,
    number: u16,
) -> bool {
    let fresh = PeerCounters {
        first_boot_ns: now.first_boot_ns,
        direction: now.direction,
        accepted_port: now.accepted_port,
        ..PeerCounters::default()
    };
    let mut delta = None;
    let is_unproven = now.direction == PEER_UNPROVEN;
    peers.remember(key, number, |known| {
        // The time of everybody's entry is that of the last multicast, not that of the entry's creation.
        let is_same =
            |reported: &PeerCounters| key.address == EVERYBODY || reported.first_boot_ns == now.first_boot_ns;
        let known = known.filter(is_same);
        // A peer is reported once its direction is known, with all that it has counted by then.
        let known = known.filter(|reported| reported.direction != PEER_UNPROVEN);
        let reported = known.unwrap_or(fresh);
        if is_unproven {
            return fresh;
        }
        let now = PeerCounters { first_boot_ns: reported.first_boot_ns, ..now };
        delta = peer_delta(&key, &now, &reported, known.is_none());
        highest_peer(&now, &reported)
    });
    let Ok(port) = port_id(&key.port) else { return false };
    if is_unproven {
        return !ports.contains_key(&key.port);
    }
    match delta {
        Some(delta) => {
            drain.ports.entry(port).or_default().peers.push(delta);
            false
        }
        None => !ports.contains_key(&key.port),
    }
}

/// Returns the growth since `reported`; `None` if there is none.
fn growth(now: &PortCounters, reported: &PortCounters) -> Option<PortDelta> {
    let delta = PortDelta {
        attempts: now.attempts.saturating_sub(reported.attempts),
        connections: now.connections.saturating_sub(reported.connections),
        packets: now.packets.saturating_sub(reported.packets),
        bytes: now.bytes.saturating_sub(reported.bytes),
        // The kernel counts new peers modulo 2^32.
        peers_created: now.peers_created.wrapping_sub(reported.peers_created).into(),
        ..PortDelta::default()
    };
    (delta != PortDelta::default()).then_some(delta)
}

fn add(sum: &mut PortDelta, delta: &PortDelta) {
    sum.attempts += delta.attempts;
    sum.connections += delta.connections;
    sum.packets += delta.packets;
    sum.bytes += delta.bytes;
    sum.peers_created += delta.peers_created;
}

fn highest(now: &PortCounters, reported: &PortCounters) -> PortCounters {
    PortCounters {
        attempts: now.attempts.max(reported.attempts),
        connections: now.connections.max(reported.connections),
        packets: now.packets.max(reported.packets),
        bytes: now.bytes.max(reported.bytes),
        generation: 0,
        peers_created: now.peers_created,
    }
}

fn highest_peer(now: &PeerCounters, reported: &PeerCounters) -> PeerCounters {
    PeerCounters {
        first_boot_ns: now.first_boot_ns,
        attempts: now.attempts.max(reported.attempts),
        connections: now.connections.max(reported.connections),
        packets: now.packets.max(reported.packets),
        bytes: now.bytes.max(reported.bytes),
        accepted_port: now.accepted_port,
        direction: now.direction,
        ..PeerCounters::default()
    }
}

fn peer_delta(key: &PeerKey, now: &PeerCounters, reported: &PeerCounters, is_new: bool) -> Option<PeerDelta> {
    let changed = is_new || highest_peer(now, reported) != *reported;
    changed.then(|| PeerDelta {
        address: address(key.address),
        first_seen: BootTime(now.first_boot_ns),
        attempts: now.attempts.saturating_sub(reported.attempts),
        connections: now.connections.saturating_sub(reported.connections),
        packets: now.packets.saturating_sub(reported.packets),
        bytes: now.bytes.saturating_sub(reported.bytes),
        addressed_first: now.direction == PEER_ADDRESSED,
        accepted_by: NonZeroU16::new(now.accepted_port),
    })
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
