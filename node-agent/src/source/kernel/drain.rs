//! What the kernel's counters grew by since the last drain. Sums per-CPU values, and remembers the last sum of each entry;
//! an entry that the LRU forgot and made again is known by its time of birth.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::BorrowedFd;

use portolan_ebpf::abi::traffic::{PeerCounters, PeerKey, PortCounters, PortKey};
use zerocopy::{FromBytes, IntoBytes};

use super::batch::{BatchReader, take};
use super::decode::{address, port_id};
use crate::engine::identity::{BootTime, PortId};
use crate::engine::input::{PeerDelta, PortDelta, TrafficDrain};

/// Entries that one system call reads.
const BATCH: usize = 2048;

/// A peer's counters as they were, and the drain that saw them last.
#[derive(Clone, Copy, Debug)]
struct SeenPeer {
    counters: PeerCounters,
    drain: u32,
}

/// Remembers the last counters.
#[derive(Debug)]
pub struct Drain {
    ports: HashMap<PortKey, PortCounters>,
    peers: HashMap<PeerKey, SeenPeer>,
    /// Growth of ports that were taken out since.
    taken: BTreeMap<PortId, PortDelta>,
    changes: Option<u64>,
    number: u32,
    cpus: usize,
    port_reader: BatchReader,
    peer_reader: BatchReader,
}

/// The maps that are drained.
#[derive(Clone, Copy, Debug)]
pub struct CounterMaps<'a> {
    pub ports: BorrowedFd<'a>,
    pub peers: BorrowedFd<'a>,
}

impl Drain {
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        let cpus = cpus.max(1);
        Self {
            ports: HashMap::new(),
            peers: HashMap::new(),
            taken: BTreeMap::new(),
            changes: None,
            number: 0,
            cpus,
            port_reader: BatchReader::new(size_of::<PortKey>(), size_of::<PortCounters>() * cpus, BATCH),
            peer_reader: BatchReader::new(size_of::<PeerKey>(), size_of::<PeerCounters>(), BATCH),
        }
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
            return Ok((drain, Vec::new()));
        }
        self.number = self.number.wrapping_add(1);
        self.read_ports(maps.ports, &mut drain)?;
        let orphans = self.read_peers(maps.peers, &mut drain)?;
        self.changes = Some(changes);
        Ok((drain, orphans))
    }

    fn read_ports(&mut self, map: BorrowedFd<'_>, drain: &mut TrafficDrain) -> io::Result<()> {
        let Self { ports, port_reader, .. } = self;
        port_reader.read(map, |key, value| {
            let Ok(key) = PortKey::read_from_bytes(key) else { return };
            let now = sum(value);
            let before = ports.insert(key, now).unwrap_or_default();
            let Ok(port) = port_id(&key) else { return };
            if now != before {
                add_port(drain.ports.entry(port).or_default(), &now, &before);
            }
        })
    }

    fn read_peers(&mut self, map: BorrowedFd<'_>, drain: &mut TrafficDrain) -> io::Result<Vec<PeerKey>> {
        let mut orphans = Vec::new();
        let Self { ports, peers, peer_reader, number, .. } = self;
        peer_reader.read(map, |key, value| {
            let (Ok(key), Ok(now)) = (PeerKey::read_from_bytes(key), PeerCounters::read_from_bytes(value))
            else {
                return;
            };
            let before = peers
                .insert(key, SeenPeer { counters: now, drain: *number })
                .map(|seen| seen.counters)
                .filter(|counters| counters.first_boot_ns == now.first_boot_ns)
                .unwrap_or_default();
            let Ok(port) = port_id(&key.port) else { return };
            if let Some(delta) = peer_delta(&key, &now, &before) {
                drain.ports.entry(port).or_default().peers.push(delta);
            } else if !ports.contains_key(&key.port) {
                orphans.push(key);
            }
        })?;
        let current = self.number;
        self.peers.retain(|_, seen| seen.drain == current);
        if self.peers.capacity() > 4 * self.peers.len() + 1024 {
            self.peers.shrink_to_fit();
        }
        Ok(orphans)
    }

    /// Peers that the last drain found.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Takes a port's counters out of the map; their growth is in the next drain.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn take_port(&mut self, map: BorrowedFd<'_>, key: &PortKey) -> io::Result<()> {
        let mut value = vec![0; size_of::<PortCounters>() * self.cpus];
        let taken = take(map, key.as_bytes(), &mut value)?;
        let before = self.ports.remove(key).unwrap_or_default();
        let now = sum(&value);
        if taken.is_some()
            && now != before
            && let Ok(port) = port_id(key)
        {
            add_port(self.taken.entry(port).or_default(), &now, &before);
        }
        Ok(())
    }
}

fn sum(per_cpu: &[u8]) -> PortCounters {
    let values = per_cpu
        .chunks_exact(size_of::<PortCounters>())
        .filter_map(|cpu| PortCounters::read_from_bytes(cpu).ok());
    values.fold(PortCounters::default(), |sum, cpu| PortCounters {
        attempts: sum.attempts.wrapping_add(cpu.attempts),
        connections: sum.connections.wrapping_add(cpu.connections),
        packets: sum.packets.wrapping_add(cpu.packets),
        bytes: sum.bytes.wrapping_add(cpu.bytes),
        peers_created: sum.peers_created.wrapping_add(cpu.peers_created),
    })
}

/// Counters only grow; one that is smaller belongs to an entry that was taken out and made anew.
fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn add_port(delta: &mut PortDelta, now: &PortCounters, before: &PortCounters) {
    delta.attempts += grown(now.attempts, before.attempts);
    delta.connections += grown(now.connections, before.connections);
    delta.packets += grown(now.packets, before.packets);
    delta.bytes += grown(now.bytes, before.bytes);
    delta.peers_created += grown(now.peers_created, before.peers_created);
}

fn peer_delta(key: &PeerKey, now: &PeerCounters, before: &PeerCounters) -> Option<PeerDelta> {
    let changed = now != before;
    changed.then(|| PeerDelta {
        address: address(key.address),
        first_seen: BootTime(now.first_boot_ns),
        attempts: grown(now.attempts, before.attempts),
        connections: grown(now.connections, before.connections),
        packets: grown(now.packets, before.packets),
        bytes: grown(now.bytes, before.bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_sum_of_its_cpus() {
        let one = PortCounters { attempts: 1, connections: 2, packets: 3, bytes: 4, peers_created: 5 };
        let bytes = [one.as_bytes(), one.as_bytes()].concat();
        assert_eq!(
            sum(&bytes),
            PortCounters { attempts: 2, connections: 4, packets: 6, bytes: 8, peers_created: 10 }
        );
    }

    #[test]
    fn a_peer_that_did_not_move_has_no_delta() {
        let key = PeerKey {
            port: PortKey { netns_cookie: 1, port: 80, protocol: 6, reserved: [0; 5] },
            address: [0; 16],
        };
        let seen = PeerCounters { first_boot_ns: 9, connections: 3, ..PeerCounters::default() };
        assert_eq!(peer_delta(&key, &seen, &seen), None);
        let more = PeerCounters { connections: 5, ..seen };
        assert_eq!(peer_delta(&key, &more, &seen).map(|delta| delta.connections), Some(2));
    }
}
