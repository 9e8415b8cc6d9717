//! Listening sockets: the maps `LISTENERS` and `BINDS`, and the ring buffer of opened and closed listeners.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LruHashMap, RingBuf},
};
use portolan_ebpf::abi::{
    IPPROTO_TCP,
    lost::LostSlot,
    socket::{LISTENER_CLOSED, LISTENER_OPENED, ListenerRecord, ListenerValue},
    traffic::PortKey,
};

use crate::addressed::born;
use crate::connections::record_by_default;
use crate::counter::{counts_connections, now};
use crate::ports::ensure_port;

#[map]
static LISTENERS: HashMap<u64, ListenerValue> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);
#[map]
static BINDS: LruHashMap<u64, ListenerValue> = LruHashMap::pinned(16_384, 0);
#[map]
static LISTENER_EVENTS: RingBuf = RingBuf::pinned(1 << 20, 0);

/// Returns what post_bind saw of a socket.
#[inline(always)]
pub fn bind_of(cookie: u64) -> Option<&'static ListenerValue> {
    // SAFETY: a reused LRU element at worst names another process; it stays readable under the RCU read lock.
    unsafe { BINDS.get(cookie) }
}

/// Stores what post_bind saw, until the socket listens.
#[inline(always)]
pub fn remember_bind(cookie: u64, value: &ListenerValue) {
    // An LRU map evicts to make room. Without the entry only the process is unknown, and the scan finds it.
    let _ = BINDS.insert(cookie, value, 0);
}

/// Records that a socket listens: stores the listener, creates its port's counters, and emits an event.
#[inline(always)]
pub fn listener_opened(cookie: u64, listener: &ListenerValue) -> Result<(), LostSlot> {
    let stored = LISTENERS.insert(cookie, listener, 0).map_err(|_| LostSlot::ListenersMapFull);
    let port = port_of(listener);
    let counted = if counts_connections() { ensure_port(&port).map(|_| ()) } else { Ok(()) };
    let recorded = if port.protocol == IPPROTO_TCP {
        record_by_default(&port)
    } else {
        born(&port, listener.opened_boot_ns);
        Ok(())
    };
    // The event is sent even if a map is full: the agent must know the listener.
    emit_listener(LISTENER_OPENED, cookie, listener)?;
    stored.and(counted).and(recorded)
}

/// Records that a socket no longer listens. Returns true if the socket was a known listener. The first hook that sees the end
/// emits the only event.
#[inline(always)]
pub fn listener_closed(cookie: u64) -> Result<bool, LostSlot> {
    // SAFETY: NO_PREALLOC frees elements only after a grace period.
    let Some(listener) = (unsafe { LISTENERS.get(cookie) }) else { return Ok(false) };
    let last = *listener;
    if LISTENERS.remove(cookie).is_err() {
        return Ok(true);
    }
    emit_listener(LISTENER_CLOSED, cookie, &last)?;
    Ok(true)
}

/// Emits one record about a listener.
#[inline(always)]
pub fn emit_listener(kind: u32, cookie: u64, listener: &ListenerValue) -> Result<(), LostSlot> {
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

/// Returns the key under which a listener's traffic is counted.
#[inline(always)]
const fn port_of(listener: &ListenerValue) -> PortKey {
    PortKey::new(listener.netns_cookie, listener.port, listener.protocol)
}
