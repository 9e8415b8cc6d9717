//! Whom the UDP sockets addressed whose ports are not counted (yet), and when UDP ports opened: the arrays `ADDRESSED` and
//! `BORN`. The agent finds a socket that the kernel bound while it sent (autobind) only by a scan; the answers that are on their
//! way then are no calls.

use aya_ebpf::{macros::map, maps::Array};
use portolan_ebpf::abi::{
    slot::{SLOTS, Slot, TIME_MASK, TIME_SHIFT, TIMED_BITS, UNPROVEN},
    traffic::{ANSWERS_EXPECTED_NS, EVERYBODY, PeerKey, PortKey, SILENCE_NS},
};

use crate::counter::{now, seed};
use crate::observed::{is_observed, observed_since};

#[map]
static ADDRESSED: Array<u64> = Array::pinned(SLOTS, 0);
#[map]
static BORN: Array<u64> = Array::pinned(SLOTS, 0);

/// What is remembered of a port that is not counted, and a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The port did not address the peer, or longer ago than answers take.
    Nothing,
    /// The port addressed the peer before it heard it.
    Addressed,
    /// They talked when the programs began to observe the netns.
    Unproven,
}

/// Remembers that a socket of this port addresses a peer. Where the netns is not observed, the port may be a server's that
/// the agent has not listed yet, and answers; only silence before proves that it asks.
#[inline(always)]
pub fn remember(key: &PeerKey) {
    let slot = slot_of(key);
    let Some(word) = ADDRESSED.get_ptr_mut(slot.index()) else { return };
    let at = now();
    // SAFETY: a value of an array is never freed. Volatile, because other CPUs write it: one word, read and written at once.
    unsafe {
        let flag = match slot.bits_of(word.read_volatile()) {
            Some(bits) if bits & UNPROVEN == 0 => 0,
            Some(bits) if age(bits, at) < SILENCE_NS >> TIME_SHIFT => UNPROVEN,
            _ => {
                if is_observed(key.port.netns_cookie, at) {
                    0
                } else {
                    UNPROVEN
                }
            }
        };
        word.write_volatile(slot.with_bits(time(at) | flag));
    }
}

/// Returns what is remembered of a port and a peer from which a datagram arrives at `at`.
#[inline(always)]
pub fn memory(key: &PeerKey, at: u64) -> Memory {
    let slot = slot_of(key);
    let Some(word) = ADDRESSED.get_ptr(slot.index()) else { return Memory::Nothing };
    // SAFETY: as above.
    match slot.bits_of(unsafe { word.read_volatile() }) {
        Some(bits) if bits & UNPROVEN != 0 => {
            if age(bits, at) < SILENCE_NS >> TIME_SHIFT {
                Memory::Unproven
            } else {
                Memory::Nothing
            }
        }
        Some(bits) if age(bits, at) < ANSWERS_EXPECTED_NS >> TIME_SHIFT => Memory::Addressed,
        _ => Memory::Nothing,
    }
}

/// Remembers when a UDP socket was bound to this port.
#[inline(always)]
pub fn born(port: &PortKey, at: u64) {
    let slot = slot_of(&PeerKey { port: *port, address: EVERYBODY });
    if let Some(word) = BORN.get_ptr_mut(slot.index()) {
        // SAFETY: as above.
        unsafe { word.write_volatile(slot.with_bits(time(at))) }
    }
}

/// Returns true if the port opened after the netns was observed, so that nothing of it was missed. Only asked soon after that.
#[inline(always)]
pub fn is_younger_than_observation(port: &PortKey, at: u64) -> bool {
    let slot = slot_of(&PeerKey { port: *port, address: EVERYBODY });
    let Some(word) = BORN.get_ptr(slot.index()) else { return false };
    // SAFETY: as above.
    let Some(born) = slot.bits_of(unsafe { word.read_volatile() }) else { return false };
    observed_since(port.netns_cookie)
        .is_some_and(|since| age(born, at) <= at.saturating_sub(since) >> TIME_SHIFT)
}

#[inline(always)]
fn slot_of(key: &PeerKey) -> Slot<TIMED_BITS> {
    Slot::of(seed(), zerocopy::transmute!(*key))
}

#[inline(always)]
const fn time(at: u64) -> u64 {
    at >> TIME_SHIFT & TIME_MASK
}

/// Returns the time from the one in `bits` to `at`, in units of the slots.
#[inline(always)]
const fn age(bits: u64, at: u64) -> u64 {
    time(at).wrapping_sub(bits) & TIME_MASK
}
