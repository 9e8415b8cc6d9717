//! Since when the programs see the datagrams of a netns: the map `OBSERVED`, which the agent writes.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, macros::map, maps::HashMap};
use portolan_ebpf::abi::traffic::{SENDING_OBSERVED, SILENCE_NS};

/// Netns cookie → time in ns of CLOCK_BOOTTIME.
#[map]
static OBSERVED: HashMap<u64, u64> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);

/// Returns since when the datagrams that arrive in a netns are seen.
#[inline(always)]
pub fn observed_since(netns_cookie: u64) -> Option<u64> {
    // SAFETY: NO_PREALLOC frees elements only after a grace period.
    unsafe { OBSERVED.get(netns_cookie) }.copied()
}

/// Returns true if the datagrams that arrive in a netns were seen for long enough before `at`: who speaks after that silence
/// is not answering.
#[inline(always)]
pub fn is_observed(netns_cookie: u64, at: u64) -> bool {
    observed_since(netns_cookie).is_some_and(|since| at >= since.saturating_add(SILENCE_NS))
}

/// Returns true if the datagrams that are sent, in all netns, were seen for long enough before `at`.
#[inline(always)]
pub fn is_sending_observed(at: u64) -> bool {
    is_observed(SENDING_OBSERVED, at)
}
