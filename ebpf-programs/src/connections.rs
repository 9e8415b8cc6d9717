//! Records of single connections: which ports have them (`RECORDED`), within which budget, and their ring buffer.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, RingBuf},
};
use portolan_ebpf::abi::{
    connection::{ConnectionRecord, RecordBudget},
    lost::LostSlot,
    traffic::PortKey,
};

use crate::counter::{add, now};
use crate::loss::lost;

#[map]
static RECORDED: HashMap<PortKey, RecordBudget> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);
#[map]
static CONNECTION_EVENTS: RingBuf = RingBuf::pinned(1 << 20, 0);

/// Returns true if single connections of this port are recorded.
#[inline(always)]
pub fn is_recorded(key: &PortKey) -> bool {
    RECORDED.get_ptr(key).is_some()
}

/// Takes one record from the port's budget for a connection that opens now. Returns the time of opening, or `None` if the
/// port is not recorded or has used up its budget for this second. A connection beyond the budget is counted as a lost
/// record, and still counts in the port's counters.
#[inline(always)]
pub fn take_record(key: &PortKey) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    let budget = RECORDED.get_ptr_mut(key)?;
    let at = now();
    // SAFETY: a map value, readable under the RCU read lock. Two CPUs may both begin the second, or both take its last
    // record. Then a few more connections are recorded, and none is miscounted.
    let (used, most) = unsafe {
        if at.wrapping_sub((*budget).second_boot_ns) >= SECOND_NS {
            (*budget).second_boot_ns = at;
            (*budget).connections = 0;
        }
        add(&raw mut (*budget).connections, 1);
        ((*budget).connections, (*budget).most)
    };
    if used > most {
        lost(LostSlot::ConnectionRecordsLimited);
        return None;
    }
    Some(at)
}

/// Emits one record about a connection.
#[inline(always)]
pub fn emit_connection(record: &ConnectionRecord) -> Result<(), LostSlot> {
    let Some(mut entry) = CONNECTION_EVENTS.reserve::<ConnectionRecord>(0) else {
        return Err(LostSlot::ConnectionRingFull);
    };
    entry.write(*record);
    entry.submit(0);
    Ok(())
}
