//! Every map but `HANDOVER` and those of ports and flows, the load-time constants, and the few operations on them that
//! more than one hook needs. `LOST` is shared with each netns's own programs by its pin. The loader sets the sizes.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use portolan_ebpf::abi::{
    connection::{ConnectionRecord, RecordBudget},
    lost::LostSlot,
    socket::{LISTENER_CLOSED, LISTENER_OPENED, ListenerRecord, ListenerValue},
    traffic::{PeerCounters, PeerKey, PortCounters, PortKey},
};

use crate::handover::HANDOVER;
use crate::ports::ensure_port;

/// 0: count nothing; 1: count connections and attempts; 2: count packets too.
#[unsafe(no_mangle)]
static TRAFFIC: Global<u8> = Global::new(2);

#[map]
static LISTENERS: HashMap<u64, ListenerValue> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);
#[map]
static BINDS: LruHashMap<u64, ListenerValue> = LruHashMap::pinned(16_384, 0);
#[map]
static PEERS: LruHashMap<PeerKey, PeerCounters> = LruHashMap::pinned(65_536, 0);
#[map]
static RECORDED: HashMap<PortKey, RecordBudget> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::pinned(LostSlot::ALL.len() as u32, 0);
#[map]
static CHANGES: PerCpuArray<u64> = PerCpuArray::pinned(2, 0);
#[map]
static LISTENER_EVENTS: RingBuf = RingBuf::pinned(1 << 20, 0);
#[map]
static CONNECTION_EVENTS: RingBuf = RingBuf::pinned(1 << 20, 0);

/// One more in `PortCounters::peers_created`, as the upper half of eight bytes that begin with `generation`: this target has no
/// 32-bit atomic add, and here nothing can carry into the other half.
const PEER_CREATED: u64 = 1 << 32;
const _: () = assert!(
    core::mem::offset_of!(PortCounters, peers_created) == core::mem::offset_of!(PortCounters, generation) + 4
);

/// Why a hook gave up: what is counted in `LOST`.
pub type Refusal = LostSlot;

/// Where a program that every netns shares runs: what the netns's own program handed over.
#[derive(Clone, Copy)]
pub struct Place {
    netns_cookie: u64,
    link_header: u32,
}

impl Place {
    /// Cookie of the netns.
    #[inline(always)]
    pub const fn netns_cookie(self) -> u64 {
        self.netns_cookie
    }

    /// Bytes of link header before the network header on this interface; `u32::MAX` when unknown.
    #[inline(always)]
    pub const fn link_header_length(self) -> u32 {
        self.link_header
    }
}

/// What was handed over for `context`. The netns's own program wrote it on this CPU just before, in the same run: a tc
/// program runs with bottom halves off, so that no other can come between, and a lookup that a process began (sock_diag) may
/// be interrupted by one that a packet began. On PREEMPT_RT either may be preempted by its like. Then the context, which is
/// written first and read last, is another one, and this run is lost rather than counted for another netns.
#[inline(always)]
pub fn handed_over(slot: u32, context: *mut c_void) -> Result<Place, Refusal> {
    let Some(handover) = HANDOVER.get_ptr(slot) else { return Err(LostSlot::HandoverFailed) };
    // SAFETY: a value of HANDOVER, which is an array: never freed. Volatile, for the order of the reads.
    unsafe {
        let netns_cookie = (&raw const (*handover).netns_cookie).read_volatile();
        let link_header = (&raw const (*handover).link_header).read_volatile();
        if (&raw const (*handover).context).read_volatile() != context as u64 {
            return Err(LostSlot::HandoverFailed);
        }
        Ok(Place { netns_cookie, link_header })
    }
}

/// Whether handshakes and attempts are counted.
#[inline(always)]
pub fn counts_connections() -> bool {
    TRAFFIC.load() != 0
}

/// Nanoseconds of CLOCK_BOOTTIME.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes no argument and always succeeds.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Adds to a counter that another CPU or an interrupt may be adding to.
///
/// # Safety
/// `counter` must point into a live map value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    // SAFETY: the caller's pointer is into a map value; the BPF target has no fetch_add, so the instruction is spelled out.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by) }
}

/// Counts one loss; how many of its kind this CPU has counted with it.
#[inline(always)]
pub fn lost(slot: LostSlot) -> u64 {
    let Some(counter) = LOST.get_ptr_mut(slot as u32) else { return 0 };
    // SAFETY: a value of LOST, which is an array: never freed.
    unsafe {
        add(counter, 1);
        counter.read_volatile()
    }
}

/// Tells the agent that some counter moved; to be called after it did. Only whether it moved matters, so a plain add may lose a race.
#[inline(always)]
pub fn changed() {
    if let Some(counter) = CHANGES.get_ptr_mut(0) {
        // SAFETY: a value of CHANGES, which is an array: never freed.
        unsafe { *counter = (*counter).wrapping_add(1) }
    }
}

/// A number that this CPU did not give before (modulo 2^32) and that is not zero. For programs that do not nest.
#[inline(always)]
pub fn next_generation() -> u32 {
    let Some(counter) = CHANGES.get_ptr_mut(1) else { return 1 };
    // SAFETY: a value of CHANGES, which is an array: never freed.
    unsafe {
        *counter = (*counter).wrapping_add(1);
        (*counter as u32).max(1)
    }
}

/// A peer's counters, if it is known.
#[inline(always)]
pub fn peer_counters(key: &PeerKey) -> Option<*mut PeerCounters> {
    PEERS.get_ptr_mut(key)
}

/// A peer's counters, made where absent; then `port.peers_created` grows.
#[inline(always)]
pub fn ensure_peer(key: &PeerKey, port: *mut PortCounters) -> Result<*mut PeerCounters, Refusal> {
    if let Some(counters) = PEERS.get_ptr_mut(key) {
        return Ok(counters);
    }
    let fresh = PeerCounters { first_boot_ns: now(), ..PeerCounters::default() };
    if PEERS.insert(key, fresh, u64::from(BPF_NOEXIST)).is_ok() {
        // SAFETY: `port` came from PORT_STATS in this run of the program, which holds the RCU read lock.
        unsafe { add((&raw mut (*port).generation).cast(), PEER_CREATED) }
    }
    PEERS.get_ptr_mut(key).ok_or(LostSlot::PeersMapFull)
}

/// Whether single connections of this port are recorded.
#[inline(always)]
pub fn is_recorded(key: &PortKey) -> bool {
    RECORDED.get_ptr(key).is_some()
}

/// When a connection that opens now did, if it is recorded: its port is, and has not used up this second. What is above
/// that is counted as lost, and the connection still is in the port's counters.
#[inline(always)]
pub fn take_record(key: &PortKey) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    let budget = RECORDED.get_ptr_mut(key)?;
    let at = now();
    // SAFETY: a map value, readable under the RCU read lock. Two CPUs may both begin the second or both take its last
    // record; then a few more are recorded, and none is miscounted.
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

/// What post_bind saw of this socket.
#[inline(always)]
pub fn bind_of(cookie: u64) -> Option<&'static ListenerValue> {
    // SAFETY: a reused LRU element at worst names another process; it stays readable under the RCU read lock.
    unsafe { BINDS.get(cookie) }
}

/// Keeps what post_bind saw until the socket listens.
#[inline(always)]
pub fn remember_bind(cookie: u64, value: &ListenerValue) {
    // An LRU makes room itself; without the entry only the process is unknown, and the scan finds it.
    let _ = BINDS.insert(cookie, value, 0);
}

/// A socket serves: remembers it, counts its port from now on, and says so.
#[inline(always)]
pub fn listener_opened(cookie: u64, listener: &ListenerValue) -> Result<(), Refusal> {
    let stored = LISTENERS.insert(cookie, listener, 0).map_err(|_| LostSlot::ListenersMapFull);
    let counted = if counts_connections() { ensure_port(&port_of(listener)).map(|_| ()) } else { Ok(()) };
    // The event goes out even where a map is full: the agent must know the listener.
    emit_listener(LISTENER_OPENED, cookie, listener)?;
    stored.and(counted)
}

/// A socket ended to serve, if it was known to: said once, whichever hook sees it first. True if it was known.
#[inline(always)]
pub fn listener_closed(cookie: u64) -> Result<bool, Refusal> {
    // SAFETY: NO_PREALLOC frees elements only after a grace period.
    let Some(listener) = (unsafe { LISTENERS.get(cookie) }) else { return Ok(false) };
    let last = *listener;
    if LISTENERS.remove(cookie).is_err() {
        return Ok(true);
    }
    emit_listener(LISTENER_CLOSED, cookie, &last)?;
    Ok(true)
}

/// Writes one record about a listener.
#[inline(always)]
pub fn emit_listener(kind: u32, cookie: u64, listener: &ListenerValue) -> Result<(), Refusal> {
    let Some(mut entry) = LISTENER_EVENTS.reserve::<ListenerRecord>(0) else {
        return Err(LostSlot::ListenerRingFull);
    };
    entry.write(ListenerRecord {
        kind,
        reserved: 0,
        socket_cookie: cookie,
        at_boot_ns: now(),
        listener: *listener,
    });
    entry.submit(0);
    Ok(())
}

/// Writes one record about a connection.
#[inline(always)]
pub fn emit_connection(record: &ConnectionRecord) -> Result<(), Refusal> {
    let Some(mut entry) = CONNECTION_EVENTS.reserve::<ConnectionRecord>(0) else {
        return Err(LostSlot::ConnectionRingFull);
    };
    entry.write(*record);
    entry.submit(0);
    Ok(())
}

/// The key under which a listener's traffic is counted.
#[inline(always)]
pub const fn port_of(listener: &ListenerValue) -> PortKey {
    PortKey {
        netns_cookie: listener.netns_cookie,
        port: listener.port,
        protocol: listener.protocol,
        reserved: [0; 5],
    }
}
