//! Logs losses, at the level that the agent was started with (`--kernel-log`). Off by default: the level is a constant when a
//! program is loaded, and the verifier removes the code of levels that are off.

use aya_log_ebpf::warn;
use portolan_ebpf::abi::lost::LostSlot;

use crate::loss::lost;

/// Counts a loss, and logs it when this CPU's count of its kind has doubled. A loss with every packet is therefore logged
/// about thirty times in a year.
#[inline(always)]
pub fn count_and_log(hook: &'static str, slot: LostSlot) {
    let count = lost(slot);
    if count.is_power_of_two() {
        log(hook, slot, count);
    }
}

/// Writes the log line. A separate function, so that the hooks contain only the call.
#[inline(never)]
fn log(hook: &'static str, slot: LostSlot, count: u64) {
    warn!((), "{}: {} ({} on this CPU so far)", hook, slot.reason(), count);
}
