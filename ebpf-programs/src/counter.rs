//! Counting functions that the hooks share: the traffic level, the seed, the atomic add, the clock, and the per-CPU
//! numbers in
//! `CHANGES`.

use aya_ebpf::{Global, helpers::generated::bpf_ktime_get_boot_ns, macros::map, maps::PerCpuArray};

/// Traffic level, set by the loader. 0: count nothing. 1: count connections and attempts. 2: count packets too.
#[unsafe(no_mangle)]
static TRAFFIC: Global<u8> = Global::new(2);
/// Secret number for the keys of the arrays of slots, set by the loader.
#[unsafe(no_mangle)]
static SEED: Global<u64> = Global::new(0);

#[map]
static CHANGES: PerCpuArray<u64> = PerCpuArray::pinned(2, 0);

/// Returns true if handshakes and attempts are counted.
#[inline(always)]
pub fn counts_connections() -> bool {
    TRAFFIC.load() != 0
}

/// Returns the secret number of this load.
#[inline(always)]
pub fn seed() -> u64 {
    SEED.load()
}

/// Returns the time of CLOCK_BOOTTIME in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes no argument and always succeeds.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Adds atomically to a counter that another CPU or an interrupt may be adding to.
///
/// # Safety
/// `counter` must point into a live map value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    // SAFETY: the caller's pointer is into a map value. The BPF target has no fetch_add, so the instruction is spelled out.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by) }
}

/// Signals to the agent that some counter changed. Must be called after the change. The agent only checks whether the
/// number changed, so the add need not be atomic.
#[inline(always)]
pub fn changed() {
    if let Some(counter) = CHANGES.get_ptr_mut(0) {
        // SAFETY: a value of CHANGES, which is an array: never freed.
        unsafe { *counter = (*counter).wrapping_add(1) }
    }
}

/// Returns a non-zero number that this CPU has not returned before (modulo 2^32). Only for programs that do not nest.
#[inline(always)]
pub fn next_generation() -> u32 {
    let Some(counter) = CHANGES.get_ptr_mut(1) else { return 1 };
    // SAFETY: a value of CHANGES, which is an array: never freed.
    unsafe {
        *counter = (*counter).wrapping_add(1);
        (*counter as u32).max(1)
    }
}
