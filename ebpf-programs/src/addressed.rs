//! Whom the UDP sockets addressed whose ports are not counted (yet): the array `ADDRESSED`. The agent finds a socket that the
//! kernel bound while it sent (autobind) only by a scan; the answers that are on their way then are no calls.

use aya_ebpf::{helpers::generated::bpf_ktime_get_coarse_ns, macros::map, maps::Array};
use portolan_ebpf::abi::{
    slot::{ADDRESSED_BITS, ADDRESSED_TIME_SHIFT, SLOTS, Slot},
    traffic::{ANSWERS_EXPECTED_NS, PeerKey},
};

use crate::counter::{now, seed};
use crate::peers::is_observed;

#[map]
static ADDRESSED: Array<u64> = Array::pinned(SLOTS, 0);

const TIME_MASK: u64 = (1 << ADDRESSED_BITS) - 1;

/// Remembers that a socket of this port addressed a peer. Not where the netns was not observed before: the port may then be a
/// server's that the agent has not listed yet, and answers.
#[inline(always)]
pub fn remember(key: &PeerKey) {
    let slot = Slot::<ADDRESSED_BITS>::of(seed(), key);
    let Some(word) = ADDRESSED.get_ptr_mut(slot.index()) else { return };
    // SAFETY: a value of an array is never freed. Volatile, because other CPUs write it: one word, read and written at once.
    unsafe {
        if slot.bits_of(word.read_volatile()).is_some() || is_observed(key.port.netns_cookie, now()) {
            word.write_volatile(slot.with_bits(time()));
        }
    }
}

/// Returns true if a socket of this port addressed the peer less than a minute ago.
#[inline(always)]
pub fn is_remembered(key: &PeerKey) -> bool {
    let slot = Slot::<ADDRESSED_BITS>::of(seed(), key);
    let Some(word) = ADDRESSED.get_ptr(slot.index()) else { return false };
    // SAFETY: as above.
    let Some(at) = slot.bits_of(unsafe { word.read_volatile() }) else { return false };
    time().wrapping_sub(at) & TIME_MASK < ANSWERS_EXPECTED_NS >> ADDRESSED_TIME_SHIFT
}

#[inline(always)]
fn time() -> u64 {
    // SAFETY: takes no argument and always succeeds.
    unsafe { bpf_ktime_get_coarse_ns() >> ADDRESSED_TIME_SHIFT & TIME_MASK }
}
