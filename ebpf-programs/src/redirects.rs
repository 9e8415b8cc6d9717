//! Which port a TCP client dialled, where a rule in the netns redirects its connection to another: the array `DIALLED`. tc sees
//! the SYN before netfilter does, and the socket that accepts knows only its own port.

use aya_ebpf::{Global, macros::map, maps::Array};
use portolan_ebpf::abi::{
    lost::LostSlot,
    slot::{DIALLED_BITS, SLOTS, SYN_COUNTED, SYN_LENGTH_MAX, SYN_LENGTH_SHIFT, Slot},
    traffic::PortKey,
};

use crate::connections::record_by_default;
use crate::counter::seed;
use crate::loss::lost;
use crate::ports::{ensure_port, entries, port_counters};

/// Maximum number of entries in `PORT_STATS` with which one is created for a port that only a redirect serves. Set by the
/// loader to half of the map's capacity: a scan through a rule for all ports leaves room for those that listen.
#[unsafe(no_mangle)]
static REDIRECTED_PORTS: Global<u64> = Global::new(8_192);

#[map]
static DIALLED: Array<u64> = Array::pinned(SLOTS, 0);

/// The SYN of a connection, as tc saw it.
#[derive(Clone, Copy)]
pub struct Dialled {
    /// Port that the client dialled; 0: not known. No `Option`, of which the compiler copies unset registers.
    pub port: u16,
    /// True if the SYN was counted as an attempt and as a packet.
    pub was_counted: bool,
    /// Length of the SYN from the network header on.
    pub length: u64,
}

/// Returns the key of a handshake in a netns: the client's address and port, and the sequence number of its SYN. Without the
/// number, a client that dials several ports from one port of its own would be taken for redirected.
#[inline(always)]
pub const fn handshake(netns_cookie: u64, address: [u64; 2], port: u16, sequence: u32) -> [u64; 4] {
    [netns_cookie, (sequence as u64) << 16 | port as u64, address[0], address[1]]
}

/// Remembers a SYN.
#[inline(always)]
pub fn remember(handshake: [u64; 4], dialled: Dialled) {
    let slot = Slot::<DIALLED_BITS>::of(seed(), handshake);
    if let Some(word) = DIALLED.get_ptr_mut(slot.index()) {
        let counted = if dialled.was_counted { SYN_COUNTED } else { 0 };
        let length = dialled.length.min(SYN_LENGTH_MAX) << SYN_LENGTH_SHIFT;
        // SAFETY: a value of an array is never freed. Volatile, because other CPUs write it: one word, written at once.
        unsafe { word.write_volatile(slot.with_bits(u64::from(dialled.port) | counted | length)) }
    }
}

/// Returns the SYN of a handshake, unless a SYN of another one took its place.
#[inline(always)]
pub fn dialled(handshake: [u64; 4]) -> Dialled {
    let slot = Slot::<DIALLED_BITS>::of(seed(), handshake);
    // SAFETY: as above.
    let word = DIALLED.get_ptr(slot.index()).map_or(0, |word| unsafe { word.read_volatile() });
    let bits = slot.bits_of(word).unwrap_or(0);
    Dialled {
        port: bits as u16,
        was_counted: bits & SYN_COUNTED != 0,
        length: bits >> SYN_LENGTH_SHIFT & SYN_LENGTH_MAX,
    }
}

/// Creates the counters of a port to which a redirected connection was dialled, if absent. A port without them has no listener,
/// so its connections are recorded like those of a new one.
#[inline(always)]
pub fn ensure_redirected_port(key: &PortKey) -> Result<(), LostSlot> {
    if port_counters(key).is_some() {
        return Ok(());
    }
    if entries() >= REDIRECTED_PORTS.load() {
        return Err(LostSlot::RedirectedPortsFull);
    }
    ensure_port(key)?;
    // Without room for records the connection still counts.
    if let Err(loss) = record_by_default(key) {
        lost(loss);
    }
    Ok(())
}
