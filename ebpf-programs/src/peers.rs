//! The counters of each peer of a counted port: the map `PEERS`.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::map, maps::LruHashMap};
use portolan_ebpf::abi::{
    lost::LostSlot,
    traffic::{PeerCounters, PeerKey, PortCounters},
};

use crate::counter::{add, now};

#[map]
static PEERS: LruHashMap<PeerKey, PeerCounters> = LruHashMap::pinned(65_536, 0);

/// Adds one to `PortCounters::peers_created`, which is the upper half of the eight bytes that begin with `generation`. The
/// BPF target has no 32-bit atomic add; adding to the upper half of 64 bits cannot carry into the lower half.
const PEER_CREATED: u64 = 1 << 32;
const _: () = assert!(
    core::mem::offset_of!(PortCounters, peers_created) == core::mem::offset_of!(PortCounters, generation) + 4
);

/// Returns a peer's counters, if the peer is known.
#[inline(always)]
pub fn peer_counters(key: &PeerKey) -> Option<*mut PeerCounters> {
    PEERS.get_ptr_mut(key)
}

/// Returns a peer's counters, creating them if absent. Counts a new peer in `port.peers_created`.
#[inline(always)]
pub fn ensure_peer(key: &PeerKey, port: *mut PortCounters) -> Result<*mut PeerCounters, LostSlot> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        return Ok(counters);
    }
    let fresh = PeerCounters { first_boot_ns: now(), ..PeerCounters::default() };
    if PEERS.insert(key, fresh, u64::from(BPF_NOEXIST)).is_ok() {
        // SAFETY: `port` came from PORT_STATS in this run of the program, which holds the RCU read lock.
        unsafe { add((&raw mut (*port).generation).cast(), PEER_CREATED) }
    }
    PEERS.get_ptr_mut(key).ok_or(LostSlot::PeersMapFull)
}
