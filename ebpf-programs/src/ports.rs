//! The counted ports: the map `PORT_STATS`, the filter that avoids a hash lookup for packets to ports that do not listen, and
//! the epoch that changes whenever an entry is created or deleted.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{Array, PerCpuHashMap},
};
use portolan_ebpf::abi::{
    lost::LostSlot,
    traffic::{PORT_BUCKETS, PORTS_MADE_BY_AGENT, PORTS_TOTAL, PortCounters, PortKey, port_bucket},
};

use crate::counter::add;

#[map]
static PORT_STATS: PerCpuHashMap<PortKey, PortCounters> = PerCpuHashMap::pinned(16_384, BPF_F_NO_PREALLOC);
/// Number of entries that the programs created, by bucket. Written by the programs only.
#[map]
static PORTS_MADE: Array<u64> = Array::pinned(PORT_BUCKETS + 1, 0);
/// Number of entries that the agent deleted, minus those that it created itself, by bucket. Written by the agent only.
#[map]
static PORTS_TAKEN: Array<u64> = Array::pinned(PORT_BUCKETS + 2, 0);

/// Returns false if the port is certainly not counted. If true, a lookup must decide.
///
/// `PORTS_MADE` minus `PORTS_TAKEN` is the number of entries in the bucket, or more: each side counts an entry before it
/// creates it, and after it deleted it. Each map has a single writer side, so no update is lost. `PORTS_TAKEN` is read first:
/// an entry that is created or deleted between the two reads can only increase the difference.
#[inline(always)]
pub fn may_be_counted(key: &PortKey) -> bool {
    let bucket = port_bucket(key);
    let Some(deleted) = read(&PORTS_TAKEN, bucket) else { return true };
    // The second address depends on the first value, so that no processor reorders the reads.
    let zero: u64;
    // SAFETY: computes on registers only.
    unsafe {
        core::arch::asm!("{0} &= 0", inout(reg) deleted => zero, options(pure, nomem, nostack));
    }
    read(&PORTS_MADE, bucket + zero as u32).is_none_or(|created| created != deleted)
}

/// Returns a number that changes whenever a program creates an entry of `PORT_STATS` or the agent deletes one.
#[inline(always)]
pub fn epoch() -> u64 {
    let created = read(&PORTS_MADE, PORTS_TOTAL).unwrap_or_default();
    created.wrapping_add(read(&PORTS_TAKEN, PORTS_TOTAL).unwrap_or_default())
}

/// Returns the number of entries of `PORT_STATS`.
#[inline(always)]
pub fn entries() -> u64 {
    let created = read(&PORTS_MADE, PORTS_TOTAL).unwrap_or_default();
    let by_agent = read(&PORTS_TAKEN, PORTS_MADE_BY_AGENT).unwrap_or_default();
    let deleted = read(&PORTS_TAKEN, PORTS_TOTAL).unwrap_or_default();
    created.wrapping_add(by_agent).wrapping_sub(deleted)
}

#[inline(always)]
fn read(map: &Array<u64>, index: u32) -> Option<u64> {
    // SAFETY: a value of an array is never freed. Volatile, because other CPUs and the agent write it.
    map.get_ptr(index).map(|value| unsafe { value.read_volatile() })
}

#[inline(always)]
fn count_created(index: u32, by: u64) {
    if let Some(created) = PORTS_MADE.get_ptr_mut(index) {
        // SAFETY: a value of an array is never freed.
        unsafe { add(created, by) }
    }
}

/// Returns this CPU's counters of a port, if the port is counted.
#[inline(always)]
pub fn port_counters(key: &PortKey) -> Option<*mut PortCounters> {
    PORT_STATS.get_ptr_mut(key)
}

/// Returns this CPU's counters of a port, creating the entry if absent.
#[inline(always)]
pub fn ensure_port(key: &PortKey) -> Result<*mut PortCounters, LostSlot> {
    if let Some(counters) = PORT_STATS.get_ptr_mut(key) {
        return Ok(counters);
    }
    let bucket = port_bucket(key);
    count_created(bucket, 1);
    // The insert fails if another CPU created the entry first, or if the map is full. The lookup below tells which.
    if PORT_STATS.insert(key, PortCounters::default(), u64::from(BPF_NOEXIST)).is_ok() {
        count_created(PORTS_TOTAL, 1);
    } else {
        count_created(bucket, u64::MAX);
    }
    PORT_STATS.get_ptr_mut(key).ok_or(LostSlot::PortStatsMapFull)
}
