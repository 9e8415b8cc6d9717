//! What the programs say of themselves, at the level that the agent was started with (`--kernel-log`). Off by default: the
//! level is a constant when a program is loaded, and the verifier removes what it turns off.

use aya_log_ebpf::warn;

use crate::maps::{Refusal, lost};

/// Counts a refusal, and says it when this CPU's count of its kind has doubled: what happens with every packet is said
/// thirty times in a year.
#[inline(always)]
pub fn refused(hook: &'static str, refusal: Refusal) {
    let count = lost(refusal);
    if count.is_power_of_two() {
        say(hook, refusal, count);
    }
}

/// A function of its own, which the hooks call and do not contain.
#[inline(never)]
fn say(hook: &'static str, refusal: Refusal, count: u64) {
    warn!((), "{}: {} ({} on this CPU so far)", hook, refusal.reason(), count);
}
