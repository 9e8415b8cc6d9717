//! What the kernel's counters grew by since the last drain. Sums per-CPU values, adds what the programs keep of flows and have
//! not yet added to the maps, and remembers what was told of each entry; an entry that the LRU forgot and made again is known
//! by its time of birth.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use portolan_ebpf::abi::traffic::{PeerCounters, PeerKey, PortCounters, PortKey};
use portolan_engine::model::identity::{BootTime, PortId};
use portolan_engine::model::traffic::{PeerDelta, PortDelta, TrafficDrain};
use zerocopy::{FromBytes, IntoBytes};

use super::batch::{BatchReader, take};
use super::decode::{address, port_id};
use super::flows::{FlowReader, Pending};
use super::peer_memory::PeerMemory;

/// Entries that one system call reads.
const BATCH: usize = 512;
/// So much room for ports is not worth giving back.
const SPARE: usize = 4096;
/// A port that the engine does not know after this will not be told any more: its records were lost. Far longer than the ring and
/// the queue behind it hold records.
const STRAY: Duration = Duration::from_secs(10);

/// One entry of `PORT_STATS` for which a flow may be kept.
#[derive(Clone, Debug, Default)]
struct Entry {
    counters: PortCounters,
    /// By CPU; only where there is one.
    generations: Vec<(usize, u32)>,
}

/// An entry that was taken out, of which something may be pending.
#[derive(Clone, Debug)]
struct Ended {
    key: PortKey,
    entry: Entry,
    told: PortCounters,
}

/// What the maps said of the ports and peers of kept flows: told when what is pending was read.
#[derive(Debug, Default)]
struct Kept {
    ports: HashMap<PortKey, Option<Entry>>,
    peers: HashMap<PeerKey, Option<PeerCounters>>,
}

/// Remembers what was told.
#[derive(Debug)]
pub struct Drain {
    ports: HashMap<PortKey, PortCounters>,
    peers: PeerMemory,
    /// Growth of ports that were taken out since.
    taken: BTreeMap<PortId, PortDelta>,
    ended: Vec<Ended>,
    /// Entries that nobody knows, and since when.
    strays: HashMap<PortKey, BootTime>,
    changes: Option<u64>,
    number: u32,
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
            taken: BTreeMap::new(),
            ended: Vec::new(),
            strays: HashMap::new(),
            changes: None,
            number: 0,
            cpus,
            port_reader: BatchReader::new(size_of::<PortKey>(), size_of::<PortCounters>() * cpus, BATCH),
            peer_reader: BatchReader::new(size_of::<PeerKey>(), size_of::<PeerCounters>(), BATCH),
            flow_reader: FlowReader::new(cpus),
        }
    }

    /// Entries of `PORT_STATS` at the last drain that read them.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Ports that are counted though nobody has known them for a while, each once.
    pub fn strays(&mut self, is_known: impl Fn(PortId) -> bool, at: BootTime) -> Vec<PortId> {
        let Self { ports, strays, .. } = self;
        let unknown =
            ports.keys().filter_map(|key| Some((*key, port_id(key).ok()?))).filter(|(_, id)| !is_known(*id));
        let since = |key: &PortKey| strays.get(key).copied().unwrap_or(at);
        let (old, new): (Vec<_>, Vec<_>) =
            unknown.map(|(key, id)| (key, id, since(&key))).partition(|(.., since)| at >= since.after(STRAY));
        *strays = new.into_iter().map(|(key, _, since)| (key, since)).collect();
        old.into_iter().map(|(_, id, _)| id).collect()
    }

    /// Everything that grew. `changes` is the kernel's change counter, read before: where it did not move, nothing is
    /// read. Peers of ports that are counted no more are returned for deletion.
    ///
    /// # Errors
    /// What bpf(2) says; what was read until then is in the next drain.
    pub fn run(
        &mut self,
        maps: CounterMaps<'_>,
        changes: u64,
        at: BootTime,
    ) -> io::Result<(TrafficDrain, Vec<PeerKey>)> {
        let mut drain = TrafficDrain { at, ports: std::mem::take(&mut self.taken) };
        if self.changes == Some(changes) {
            self.ended.clear();
            return Ok((drain, Vec::new()));
        }
        self.number = self.number.wrapping_add(1);
        match self.read(maps, &mut drain) {
            Ok((orphans, whole)) => {
                self.changes = whole.then_some(changes);
                Ok((drain, orphans))
            }
            Err(error) => {
                self.taken = drain.ports;
                Err(error)
            }
        }
    }

    /// First the maps, then what is pending. Counts that a program moves from there to the maps in between are missed until the
    /// next drain and never doubled; therefore a sum may be smaller than what was told, and tells nothing then.
    fn read(&mut self, maps: CounterMaps<'_>, drain: &mut TrafficDrain) -> io::Result<(Vec<PeerKey>, bool)> {
        let mut kept = Kept::default();
        for key in self.flow_reader.kept(maps.flows)? {
            kept.ports.insert(key.port, None);
            kept.peers.insert(key, None);
        }
        self.read_ports(maps.ports, drain, &mut kept)?;
        let mut orphans = self.read_peers(maps.peers, drain, &mut kept)?;
        let (pending, whole) = self.flow_reader.read(maps.flows)?;
        self.tell_ended(&pending, drain);
        for (key, entry) in kept.ports {
            if let Some(entry) = entry {
                let now = with_pending(&key, &entry, &pending);
                tell_port(&mut self.ports, drain, key, now);
            }
        }
        for (key, counters) in kept.peers {
            if let Some(counters) = counters {
                let now = with_pending_peer(&key, counters, &pending);
                let orphan = tell_peer(&mut self.peers, &self.ports, drain, key, now, self.number);
                orphans.extend(orphan.then_some(key));
            }
        }
        self.peers.retain(self.number);
        Ok((orphans, whole))
    }

    fn read_ports(
        &mut self,
        map: BorrowedFd<'_>,
        drain: &mut TrafficDrain,
        kept: &mut Kept,
    ) -> io::Result<()> {
        let Self { ports, port_reader, .. } = self;
        port_reader.read(map, |key, value| {
            let Ok(key) = PortKey::read_from_bytes(key) else { return };
            if let Some(entry) = kept.ports.get_mut(&key) {
                ports.entry(key).or_default();
                *entry = Some(Entry { counters: sum(value), generations: generations(value) });
            } else {
                tell_port(ports, drain, key, sum(value));
            }
        })
    }

    fn read_peers(
        &mut self,
        map: BorrowedFd<'_>,
        drain: &mut TrafficDrain,
        kept: &mut Kept,
    ) -> io::Result<Vec<PeerKey>> {
        let mut orphans = Vec::new();
        let Self { ports, peers, peer_reader, number, .. } = self;
        peer_reader.read(map, |key, value| {
            let (Ok(key), Ok(now)) = (PeerKey::read_from_bytes(key), PeerCounters::read_from_bytes(value))
            else {
                return;
            };
            if let Some(counters) = kept.peers.get_mut(&key) {
                *counters = Some(now);
            } else if tell_peer(peers, ports, drain, key, now, *number) {
                orphans.push(key);
            }
        })?;
        Ok(orphans)
    }

    /// What is pending of entries that were taken out since the last drain.
    fn tell_ended(&mut self, pending: &[Pending], drain: &mut TrafficDrain) {
        for Ended { key, entry, told } in self.ended.drain(..) {
            let delta = rise(&with_pending(&key, &entry, pending), &told);
            if let (Ok(port), Some(delta)) = (port_id(&key), delta) {
                add(drain.ports.entry(port).or_default(), &delta);
            }
        }
    }

    /// Peers that the last drain found.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Takes a port's counters out of the map; their growth is in the next drain. `false`: there were none.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn take_port(&mut self, map: BorrowedFd<'_>, key: &PortKey) -> io::Result<bool> {
        let mut value = vec![0; size_of::<PortCounters>() * self.cpus];
        let taken = take(map, key.as_bytes(), &mut value)?;
        let told = self.ports.remove(key).unwrap_or_default();
        if self.ports.capacity() > 2 * self.ports.len() + SPARE {
            self.ports.shrink_to(self.ports.len() + SPARE / 2);
        }
        if taken.is_none() {
            return Ok(false);
        }
        let entry = Entry { counters: sum(&value), generations: generations(&value) };
        if let (Ok(port), Some(delta)) = (port_id(key), rise(&entry.counters, &told)) {
            add(self.taken.entry(port).or_default(), &delta);
        }
        if !entry.generations.is_empty() {
            let told = highest(&entry.counters, &told);
            self.ended.push(Ended { key: *key, entry, told });
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

fn tell_port(
    ports: &mut HashMap<PortKey, PortCounters>,
    drain: &mut TrafficDrain,
    key: PortKey,
    now: PortCounters,
) {
    let told = ports.entry(key).or_default();
    let delta = rise(&now, told);
    *told = highest(&now, told);
    if let (Ok(port), Some(delta)) = (port_id(&key), delta) {
        add(drain.ports.entry(port).or_default(), &delta);
    }
}

/// Whether this peer is silent and its port counted no more.
fn tell_peer(
    peers: &mut PeerMemory,
    ports: &HashMap<PortKey, PortCounters>,
    drain: &mut TrafficDrain,
    key: PeerKey,
    now: PeerCounters,
    number: u32,
) -> bool {
    let fresh = PeerCounters { first_boot_ns: now.first_boot_ns, ..PeerCounters::default() };
    let mut delta = None;
    peers.remember(key, number, |known| {
        let known = known.filter(|told| told.first_boot_ns == now.first_boot_ns);
        let told = known.unwrap_or(fresh);
        delta = peer_delta(&key, &now, &told, known.is_none());
        highest_peer(&now, &told)
    });
    let Ok(port) = port_id(&key.port) else { return false };
    match delta {
        Some(delta) => {
            drain.ports.entry(port).or_default().peers.push(delta);
            false
        }
        None => !ports.contains_key(&key.port),
    }
}

/// How much more there is than was told.
fn rise(now: &PortCounters, told: &PortCounters) -> Option<PortDelta> {
    let delta = PortDelta {
        attempts: now.attempts.saturating_sub(told.attempts),
        connections: now.connections.saturating_sub(told.connections),
        packets: now.packets.saturating_sub(told.packets),
        bytes: now.bytes.saturating_sub(told.bytes),
        // The kernel counts them modulo 2^32.
        peers_created: now.peers_created.wrapping_sub(told.peers_created).into(),
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

fn highest(now: &PortCounters, told: &PortCounters) -> PortCounters {
    PortCounters {
        attempts: now.attempts.max(told.attempts),
        connections: now.connections.max(told.connections),
        packets: now.packets.max(told.packets),
        bytes: now.bytes.max(told.bytes),
        generation: 0,
        peers_created: now.peers_created,
    }
}

fn highest_peer(now: &PeerCounters, told: &PeerCounters) -> PeerCounters {
    PeerCounters {
        first_boot_ns: now.first_boot_ns,
        attempts: now.attempts.max(told.attempts),
        connections: now.connections.max(told.connections),
        packets: now.packets.max(told.packets),
        bytes: now.bytes.max(told.bytes),
    }
}

fn peer_delta(key: &PeerKey, now: &PeerCounters, told: &PeerCounters, is_new: bool) -> Option<PeerDelta> {
    let changed = is_new || highest_peer(now, told) != *told;
    changed.then(|| PeerDelta {
        address: address(key.address),
        first_seen: BootTime(now.first_boot_ns),
        attempts: now.attempts.saturating_sub(told.attempts),
        connections: now.connections.saturating_sub(told.connections),
        packets: now.packets.saturating_sub(told.packets),
        bytes: now.bytes.saturating_sub(told.bytes),
    })
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
