//! The counted ports: `PORT_STATS`, the filter that spares a lookup for every packet to a port that does not listen, and
//! the epoch that tells whether a port known before may have gone.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{Array, PerCpuHashMap},
};
use portolan_ebpf::abi::{
    lost::LostSlot,
    traffic::{PORT_BUCKETS, PORTS_TOTAL, PortCounters, PortKey, port_bucket},
};

use crate::maps::{Refusal, add};

#[map]
static PORT_STATS: PerCpuHashMap<PortKey, PortCounters> = PerCpuHashMap::pinned(16_384, BPF_F_NO_PREALLOC);
/// Entries that the programs made, by bucket. Only they write it.
#[map]
static PORTS_MADE: Array<u64> = Array::pinned(PORT_BUCKETS + 1, 0);
/// Entries that the agent took out, less those that it made itself, by bucket. Only it writes it.
#[map]
static PORTS_TAKEN: Array<u64> = Array::pinned(PORT_BUCKETS + 1, 0);

/// Whether a port may be counted. `false` is certain; `true` costs a lookup.
///
/// Made less taken is how many entries of the bucket there are, or are about to be: each side says so before it makes one, and
/// after it took one out. Each map has one side that writes it, so no update is lost. What was taken is read first: what is
/// made or taken between the two reads can then only add to the difference.
#[inline(always)]
pub fn may_be_counted(key: &PortKey) -> bool {
    let bucket = port_bucket(key);
    let Some(taken) = read(&PORTS_TAKEN, bucket) else { return true };
    // The second address depends on the first value, so that no processor reads in another order.
    let nothing: u64;
    // SAFETY: computes on registers only.
    unsafe {
        core::arch::asm!("{0} &= 0", inout(reg) taken => nothing, options(pure, nomem, nostack));
    }
    read(&PORTS_MADE, bucket + nothing as u32).is_none_or(|made| made != taken)
}

/// Another number whenever a port's entry was made by a program or taken out by the agent.
#[inline(always)]
pub fn epoch() -> u64 {
    let made = read(&PORTS_MADE, PORTS_TOTAL).unwrap_or_default();
    made.wrapping_add(read(&PORTS_TAKEN, PORTS_TOTAL).unwrap_or_default())
}

#[inline(always)]
fn read(map: &Array<u64>, index: u32) -> Option<u64> {
    // SAFETY: a value of an array is never freed; volatile, since others write it.
    map.get_ptr(index).map(|value| unsafe { value.read_volatile() })
}

#[inline(always)]
fn count_made(index: u32, by: u64) {
    if let Some(made) = PORTS_MADE.get_ptr_mut(index) {
        // SAFETY: a value of an array is never freed.
        unsafe { add(made, by) }
    }
}

/// This CPU's counters of a port, if the port is counted.
#[inline(always)]
pub fn port_counters(key: &PortKey) -> Option<*mut PortCounters> {
    PORT_STATS.get_ptr_mut(key)
}

/// As [`port_counters`], but made where absent.
#[inline(always)]
pub fn ensure_port(key: &PortKey) -> Result<*mut PortCounters, Refusal> {
    if let Some(counters) = PORT_STATS.get_ptr_mut(key) {
        return Ok(counters);
    }
    let bucket = port_bucket(key);
    count_made(bucket, 1);
    // Another CPU may have made it first; the second lookup tells.
    if PORT_STATS.insert(key, PortCounters::default(), u64::from(BPF_NOEXIST)).is_ok() {
        count_made(PORTS_TOTAL, 1);
    } else {
        count_made(bucket, u64::MAX);
    }
    PORT_STATS.get_ptr_mut(key).ok_or(LostSlot::PortStatsMapFull)
}
