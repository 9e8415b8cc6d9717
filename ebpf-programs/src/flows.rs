//! Counts packets. Each CPU caches the counts of its busiest flows in `FLOWS`, which avoids lookups in `PORT_STATS` and `PEERS`
//! for most packets. The counts are flushed to these maps every few milliseconds; the agent adds those that are pending.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_jiffies64, macros::map, maps::PerCpuArray};
use portolan_ebpf::abi::{
    IPPROTO_TCP, IPPROTO_UDP,
    flow::{FLOW_SLOTS, FlowSlot},
    lost::LostSlot,
    traffic::{PEER_UNPROVEN, PeerCounters, PeerKey, PortCounters},
};

use crate::{
    connected::{Headers, is_for_connected_socket},
    counter::{add, changed, next_generation},
    peers::{ensure_peer, hear_peer, peer_counters},
    ports::{epoch, port_counters},
};

/// Maximum time in jiffies that counts stay pending: 16 to 160 ms, so that busy peers stay recent in the LRU map of peers.
const PENDING_JIFFIES: u64 = 16;
/// Consecutive packets of other flows after which a flow loses its slot. Two alternating flows therefore do not evict each
/// other.
const MAX_MISSES: u32 = 8;

#[map]
static FLOWS: PerCpuArray<[FlowSlot; FLOW_SLOTS]> = PerCpuArray::pinned(1, 0);

/// Packets of one flow that arrived together.
struct Arrival {
    key: PeerKey,
    packets: u64,
    bytes: u64,
}

/// Counts packets of a flow whose port may be counted.
#[inline(always)]
pub fn count(
    key: PeerKey,
    packets: u64,
    bytes: u64,
    skb: *mut __sk_buff,
    headers: Headers,
) -> Result<(), LostSlot> {
    let Some(slots) = FLOWS.get_ptr_mut(0) else { return Ok(()) };
    let arrival = Arrival { key, packets, bytes };
    // SAFETY: the slot is one of FLOW_SLOTS. It belongs to this CPU, only this program writes it, and it does not nest.
    let slot = unsafe { &mut *slots.cast::<FlowSlot>().add(slot_of(&arrival.key)) };
    if is_same(&slot.key, &arrival.key) {
        if slot.epoch == epoch() && jiffies().wrapping_sub(slot.flushed) < PENDING_JIFFIES {
            slot.packets += packets;
            slot.bytes += bytes;
            slot.misses = 0;
            changed();
            return Ok(());
        }
        return count_in_maps(slot, &arrival, true, skb, headers);
    }
    count_in_maps(slot, &arrival, false, skb, headers)
}

/// Counts packets in the maps. Gives the slot to the flow if the slot is free, already the flow's own, or has had too many
/// misses. Not inlined in the kernel either, so that the common case does not need its registers.
#[inline(never)]
fn count_in_maps(
    slot: &mut FlowSlot,
    arrival: &Arrival,
    is_own: bool,
    skb: *mut __sk_buff,
    headers: Headers,
) -> Result<(), LostSlot> {
    let Arrival { key, packets, bytes } = arrival;
    // Read before the lookups: if the port is deleted meanwhile, the epoch differs next time.
    let epoch = epoch();
    if is_own {
        flush(slot);
        // Invalid until the port is found again.
        slot.epoch = epoch.wrapping_sub(1);
    }
    let Some(port) = port_counters(&key.port) else { return Ok(()) };
    // SAFETY: the pointer is into this CPU's value; only this program writes these two fields, and it does not nest.
    unsafe {
        (*port).packets += packets;
        (*port).bytes += bytes;
    }
    let peer = match key.port.protocol {
        // Only a completed handshake creates a TCP peer, so that a SYN flood cannot evict real peers.
        IPPROTO_TCP => match peer_counters(key) {
            Some(peer) => Ok(peer),
            None => {
                changed();
                return Ok(());
            }
        },
        IPPROTO_UDP => hear_peer(key, port, || is_for_connected_socket(skb, key, headers)),
        _ => ensure_peer(key, port),
    };
    let peer = match peer {
        Ok(peer) => peer,
        Err(loss) => {
            changed();
            return Err(loss);
        }
    };
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    unsafe {
        add(&raw mut (*peer).packets, *packets);
        add(&raw mut (*peer).bytes, *bytes);
    }
    // SAFETY: as above.
    if unsafe { (*peer).direction } == PEER_UNPROVEN {
        // Each datagram is looked at until it is known who asks. The slot is free for others.
        slot.misses = slot.misses.saturating_add(1);
    } else if is_own || slot.key.port.netns_cookie == 0 || slot.misses >= MAX_MISSES {
        assign(slot, key, port, peer, epoch);
    } else {
        slot.misses += 1;
    }
    changed();
    Ok(())
}

#[inline(always)]
fn jiffies() -> u64 {
    // SAFETY: takes no argument and always succeeds.
    unsafe { bpf_jiffies64() }
}

/// Gives the slot to a flow whose port and peer were just found.
#[inline(always)]
fn assign(slot: &mut FlowSlot, key: &PeerKey, port: *mut PortCounters, peer: *mut PeerCounters, epoch: u64) {
    flush(slot);
    advance(slot, 1);
    slot.key = *key;
    slot.epoch = epoch;
    slot.flushed = jiffies();
    slot.misses = 0;
    // SAFETY: the pointers are into map values; the generation is this CPU's.
    unsafe {
        if (*port).generation == 0 {
            (*port).generation = next_generation();
        }
        slot.generation = (*port).generation;
        slot.peer_first_boot_ns = (*peer).first_boot_ns;
    }
    advance(slot, 1);
}

/// Adds the pending counts to the port and the peer that they were counted for, if both entries still exist. Empties the slot
/// first: the agent reads the slots last, so it may miss counts for a moment but never sees them twice.
#[inline(always)]
fn flush(slot: &mut FlowSlot) {
    let (packets, bytes) = (slot.packets, slot.bytes);
    if packets == 0 {
        return;
    }
    slot.packets = 0;
    slot.bytes = 0;
    advance(slot, 2);
    if let Some(port) = port_counters(&slot.key.port) {
        // SAFETY: as in `count_in_maps`.
        unsafe {
            if (*port).generation == slot.generation {
                (*port).packets += packets;
                (*port).bytes += bytes;
            }
        }
    }
    if let Some(peer) = peer_counters(&slot.key) {
        // SAFETY: as in `count_in_maps`.
        unsafe {
            if (*peer).first_boot_ns == slot.peer_first_boot_ns {
                add(&raw mut (*peer).packets, packets);
                add(&raw mut (*peer).bytes, bytes);
            }
        }
    }
}

/// Advances the slot's version. The fetch makes this a full barrier: earlier writes are visible before later ones.
#[inline(always)]
fn advance(slot: &mut FlowSlot, by: u64) {
    // SAFETY: the version is in a map value.
    unsafe {
        core::arch::asm!(
            "{0} = atomic_fetch_add((u64 *)({1} + 0), {0})",
            inout(reg) by => _,
            in(reg) &raw mut slot.version,
        );
    }
}

#[inline(always)]
fn slot_of(key: &PeerKey) -> usize {
    let [_, port, high, low] = words(key);
    let mixed =
        (port ^ high ^ low ^ (low >> 29) ^ (key.port.netns_cookie << 20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - FLOW_SLOTS.trailing_zeros())) as usize
}

#[inline(always)]
fn is_same(one: &PeerKey, other: &PeerKey) -> bool {
    let (one, other) = (words(one), words(other));
    one.iter().zip(&other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[inline(always)]
fn words(key: &PeerKey) -> [u64; 4] {
    zerocopy::transmute!(*key)
}
