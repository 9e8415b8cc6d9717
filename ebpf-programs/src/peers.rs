//! The counters of each peer of a counted port: the map `PEERS`, and who spoke first, which decides what a UDP datagram is: a
//! call or an answer.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::map, maps::LruHashMap};
use portolan_ebpf::abi::{
    lost::LostSlot,
    traffic::{
        ANSWERS_EXPECTED_NS, EVERYBODY, PEER_ADDRESSED, PEER_CALLED, PEER_UNPROVEN, PeerCounters, PeerKey,
        PortCounters, SILENCE_NS,
    },
};

use crate::addressed::{Memory, is_younger_than_observation, memory, remember};
use crate::counter::{add, changed, now};
use crate::observed::{is_observed, is_sending_observed};

#[map]
static PEERS: LruHashMap<PeerKey, PeerCounters> = LruHashMap::pinned(65_536, 0);
/// Adds one to `PortCounters::peers_created`, which is the upper half of the eight bytes that begin with `generation`. The
/// BPF target has no 32-bit atomic add; adding to the upper half of 64 bits cannot carry into the lower half.
const PEER_CREATED: u64 = 1 << 32;
const _: () = assert!(
    core::mem::offset_of!(PortCounters, peers_created) == core::mem::offset_of!(PortCounters, generation) + 4
);
/// Unit of `PeerCounters::spoke`, as a shift.
const SPOKE_SHIFT: u32 = 20;

/// Returns a peer's counters, if the peer is known.
#[inline(always)]
pub fn peer_counters(key: &PeerKey) -> Option<*mut PeerCounters> {
    PEERS.get_ptr_mut(key)
}

/// Returns the counters of a TCP or SCTP peer, creating them if absent. Counts a new peer in `port.peers_created`.
#[inline(always)]
pub fn ensure_peer(key: &PeerKey, port: *mut PortCounters) -> Result<*mut PeerCounters, LostSlot> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        return Ok(counters);
    }
    create(key, port, PEER_CALLED, now())
}

/// Returns the counters of a UDP peer from which a datagram arrived, creating them if absent. `is_connected` tells whether the
/// datagram is for a connected socket, which addressed the peer before it could hear it.
#[inline(always)]
pub fn hear_peer(
    key: &PeerKey,
    port: *mut PortCounters,
    is_connected: impl FnOnce() -> bool,
) -> Result<*mut PeerCounters, LostSlot> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        prove(counters, PEER_CALLED);
        return Ok(counters);
    }
    let at = now();
    let everybody = PeerKey { address: EVERYBODY, ..*key };
    let direction = if asked_everybody(&everybody, at) || memory(&everybody, at) == Memory::Addressed {
        PEER_ADDRESSED
    } else if is_connected() {
        // A server may connect a socket for each caller. Only where the beginning was seen, the port spoke first.
        if is_proven(key, at) { PEER_ADDRESSED } else { PEER_UNPROVEN }
    } else {
        match memory(key, at) {
            Memory::Addressed => PEER_ADDRESSED,
            // If the port had addressed the peer, that would have been seen.
            Memory::Nothing if is_sending_observed(at) => PEER_CALLED,
            Memory::Nothing if is_younger_than_observation(&key.port, at) => PEER_CALLED,
            Memory::Nothing | Memory::Unproven => PEER_UNPROVEN,
        }
    };
    create(key, port, direction, at)
}

/// Notes that a socket of a counted UDP port addresses a peer.
#[inline(always)]
pub fn address_peer(key: &PeerKey, port: *mut PortCounters) -> Result<(), LostSlot> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        prove(counters, PEER_ADDRESSED);
        return Ok(());
    }
    let at = now();
    let direction = if is_proven(key, at) { PEER_ADDRESSED } else { PEER_UNPROVEN };
    create(key, port, direction, at)?;
    // The entry may be evicted before the answer.
    remember(key);
    changed();
    Ok(())
}

/// Returns true if whatever the peer had said to the port before would have been seen.
#[inline(always)]
fn is_proven(key: &PeerKey, at: u64) -> bool {
    is_observed(key.port.netns_cookie, at) || is_younger_than_observation(&key.port, at)
}

/// Notes that a socket of a counted UDP port addresses everybody in reach.
#[inline(always)]
pub fn address_everybody(key: &PeerKey, port: *mut PortCounters) -> Result<(), LostSlot> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        // SAFETY: the pointer is into a map value. Any of several writers' times will do.
        unsafe { (*counters).first_boot_ns = now() };
        return Ok(());
    }
    create(key, port, PEER_ADDRESSED, now())?;
    changed();
    Ok(())
}

#[inline(always)]
fn asked_everybody(key: &PeerKey, at: u64) -> bool {
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    PEERS
        .get_ptr(key)
        .is_some_and(|asked| at.saturating_sub(unsafe { (*asked).first_boot_ns }) < ANSWERS_EXPECTED_NS)
}

/// Decides the direction of an unproven peer, if there was silence before: then who speaks now is the one that asks.
#[inline(always)]
fn prove(counters: *mut PeerCounters, direction: u8) {
    // SAFETY: the pointer is into a map value. Two CPUs that decide at once may decide differently; both are then guesses.
    unsafe {
        if (*counters).direction != PEER_UNPROVEN {
            return;
        }
        let spoke = (now() >> SPOKE_SHIFT) as u32;
        if spoke.wrapping_sub((*counters).spoke) >= (SILENCE_NS >> SPOKE_SHIFT) as u32 {
            (*counters).direction = direction;
            changed();
        }
        (*counters).spoke = spoke;
    }
}

#[inline(always)]
fn create(
    key: &PeerKey,
    port: *mut PortCounters,
    direction: u8,
    at: u64,
) -> Result<*mut PeerCounters, LostSlot> {
    let fresh = PeerCounters {
        first_boot_ns: at,
        direction,
        spoke: (at >> SPOKE_SHIFT) as u32,
        ..PeerCounters::default()
    };
    if PEERS.insert(key, fresh, u64::from(BPF_NOEXIST)).is_ok() {
        // SAFETY: `port` came from PORT_STATS in this run of the program, which holds the RCU read lock.
        unsafe { add((&raw mut (*port).generation).cast(), PEER_CREATED) }
    }
    PEERS.get_ptr_mut(key).ok_or(LostSlot::PeersMapFull)
}
