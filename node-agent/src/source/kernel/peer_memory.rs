//! Stores the last counters of every peer, densely packed: there may be as many peers as the kernel's map holds, and a
//! hash map of such keys and values would be half empty.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use portolan_ebpf::abi::IPPROTO_UDP;
use portolan_ebpf::abi::traffic::{PeerCounters, PeerKey, PortKey};

/// A peer's last counters, and the drain that saw them last. 64 bytes: the key without its padding, and one number for
/// attempts or connections, since a protocol has only one of them. Each drain removes what the one before saw last, so its number may
/// wrap.
#[derive(Clone, Copy, Debug)]
struct SeenPeer {
    netns_cookie: u64,
    address: [u8; 16],
    first_boot_ns: u64,
    /// Connections of TCP and SCTP, attempts of UDP.
    calls: u64,
    packets: u64,
    bytes: u64,
    drain: u16,
    port: u16,
    accepted_port: u16,
    protocol: u8,
    direction: u8,
}

impl SeenPeer {
    const fn new(key: PeerKey, counters: PeerCounters, drain: u16) -> Self {
        let PeerKey { port: PortKey { netns_cookie, port, protocol, .. }, address } = key;
        let PeerCounters {
            first_boot_ns,
            attempts,
            connections,
            packets,
            bytes,
            accepted_port,
            direction,
            ..
        } = counters;
        let calls = if protocol == IPPROTO_UDP { attempts } else { connections };
        Self {
            netns_cookie,
            address,
            first_boot_ns,
            calls,
            packets,
            bytes,
            drain,
            port,
            accepted_port,
            protocol,
            direction,
        }
    }

    const fn counters(&self) -> PeerCounters {
        let Self { first_boot_ns, calls, packets, bytes, accepted_port, direction, .. } = *self;
        let (attempts, connections) = if self.protocol == IPPROTO_UDP { (calls, 0) } else { (0, calls) };
        PeerCounters {
            first_boot_ns,
            attempts,
            connections,
            packets,
            bytes,
            accepted_port,
            direction,
            reserved: 0,
            spoke: 0,
        }
    }

    const fn key(&self) -> PeerKey {
        let Self { netns_cookie, port, protocol, address, .. } = *self;
        PeerKey { port: PortKey { netns_cookie, port, protocol, reserved: [0; 5] }, address }
    }
}

/// All peers in a vector, and an index over them.
#[derive(Debug, Default)]
pub(super) struct PeerMemory {
    peers: Vec<SeenPeer>,
    index: HashTable<u32>,
    /// Seeded, since pods choose addresses.
    hasher: RandomState,
}

impl PeerMemory {
    /// Replaces what is stored of a peer by the result of `next`, which gets the stored counters, and marks it as seen
    /// by drain number `drain`.
    pub(super) fn remember(
        &mut self,
        key: PeerKey,
        drain: u16,
        next: impl FnOnce(Option<PeerCounters>) -> PeerCounters,
    ) {
        let Self { peers, index, hasher } = self;
        let hash = hasher.hash_one(key);
        let is_it = |at: &u32| peers.get(*at as usize).is_some_and(|seen| seen.key() == key);
        if let Some(at) = index.find(hash, is_it).copied() {
            if let Some(seen) = peers.get_mut(at as usize) {
                *seen = SeenPeer::new(key, next(Some(seen.counters())), drain);
            }
            return;
        }
        let counters = next(None);
        // The kernel's maps hold fewer than 2³² entries.
        let Ok(at) = u32::try_from(peers.len()) else { return };
        if peers.len() == peers.capacity() {
            peers.reserve_exact(peers.len() / 8 + 64);
        }
        peers.push(SeenPeer::new(key, counters, drain));
        index.insert_unique(hash, at, |at| hash_at(hasher, peers, *at));
    }

    /// Removes the peers that drain number `drain` did not find.
    pub(super) fn retain(&mut self, drain: u16) {
        let Self { peers, index, hasher } = self;
        let before = peers.len();
        peers.retain(|seen| seen.drain == drain);
        if peers.len() == before {
            return;
        }
        if peers.capacity() > 2 * peers.len() + 1024 {
            peers.shrink_to_fit();
        }
        // The remaining peers have moved to lower indices.
        *index = HashTable::with_capacity(peers.len());
        for (at, seen) in (0_u32..).zip(peers.iter()) {
            let rehash = |at: &u32| hash_at(hasher, peers, *at);
            index.insert_unique(hasher.hash_one(seen.key()), at, rehash);
        }
    }

    /// Returns the number of stored peers.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }
}

fn hash_at(hasher: &RandomState, peers: &[SeenPeer], at: u32) -> u64 {
    peers.get(at as usize).map_or(0, |seen| hasher.hash_one(seen.key()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(port: u16, address: u8) -> PeerKey {
        let port = PortKey { netns_cookie: 1, port, protocol: 17, reserved: [0; 5] };
        PeerKey { port, address: [address; 16] }
    }

    #[test]
    fn a_peer_takes_as_much_as_its_fields() {
        assert_eq!(size_of::<SeenPeer>(), 64);
    }

    proptest! {
        /// The memory answers like a map, whatever the drains find.
        #[test]
        fn it_is_a_map(drains in prop::collection::vec(
            prop::collection::vec((0_u16..8, 0_u8..8, 0_u64..4), 0..60), 1..8)
        ) {
            let mut memory = PeerMemory::default();
            let mut map: HashMap<PeerKey, (PeerCounters, u16)> = HashMap::new();
            for (number, found) in (1_u16..).zip(drains) {
                for (port, address, packets) in found {
                    let counters = PeerCounters { packets, ..PeerCounters::default() };
                    let before = map.insert(key(port, address), (counters, number)).map(|(before, _)| before);
                    let mut found = None;
                    memory.remember(key(port, address), number, |known| {
                        found = known;
                        counters
                    });
                    prop_assert_eq!(found, before);
                }
                memory.retain(number);
                map.retain(|_, (_, drain)| *drain == number);
                prop_assert_eq!(memory.len(), map.len());
            }
        }
    }
}
