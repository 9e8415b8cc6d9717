//! Records of single connections: which ports have them (`RECORDED`), within which budget, which connections are open
//! (`CONNECTIONS`), and their ring buffer.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{HashMap, LruHashMap, RingBuf},
};
use portolan_ebpf::abi::{
    connection::{ConnectionRecord, OpenConnection, RecordBudget},
    lost::LostSlot,
    traffic::PortKey,
};

use crate::counter::{add, now};
use crate::loss::lost;

#[map]
static RECORDED: HashMap<PortKey, RecordBudget> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);
#[map]
static CONNECTIONS: LruHashMap<u64, OpenConnection> = LruHashMap::pinned(16_384, 0);
#[map]
static CONNECTION_EVENTS: RingBuf = RingBuf::pinned(1 << 20, 0);

/// Budget of records per second of a port that begins to listen, set by the loader. 0: no connection is recorded until the agent
/// asks for it.
#[unsafe(no_mangle)]
static RECORD_BY_DEFAULT: Global<u64> = Global::new(0);
/// Netns cookie of the host, whose ports are not recorded by default; 0 where the agent does not know it.
#[unsafe(no_mangle)]
static HOST_NETNS: Global<u64> = Global::new(0);

/// Records the connections of a port that begins to listen, until the agent decides otherwise.
#[inline(always)]
pub fn record_by_default(key: &PortKey) -> Result<(), LostSlot> {
    let most = RECORD_BY_DEFAULT.load();
    if most == 0 || key.netns_cookie == HOST_NETNS.load() {
        return Ok(());
    }
    let budget = RecordBudget { second_boot_ns: 0, connections: 0, most };
    if RECORDED.insert(key, budget, u64::from(BPF_NOEXIST)).is_err() && !is_recorded(key) {
        return Err(LostSlot::RecordedMapFull);
    }
    Ok(())
}

/// Stores a connection whose opening is recorded, until it ends. The end of one that the LRU evicts is not recorded; the agent
/// then learns it from the kernel's list of connections.
#[inline(always)]
pub fn remember_connection(cookie: u64, connection: &OpenConnection) {
    let _ = CONNECTIONS.insert(cookie, connection, 0);
}

/// Returns a connection whose opening was recorded.
#[inline(always)]
pub fn open_connection(cookie: u64) -> Option<*mut OpenConnection> {
    CONNECTIONS.get_ptr_mut(cookie)
}

/// Forgets a connection that ended.
#[inline(always)]
pub fn forget_connection(cookie: u64) {
    let _ = CONNECTIONS.remove(cookie);
}

/// Returns true if single connections of this port are recorded.
#[inline(always)]
fn is_recorded(key: &PortKey) -> bool {
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
