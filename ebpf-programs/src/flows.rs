//! Counts packets. Those of a flow that this CPU saw last, without a look into `PORT_STATS` and `PEERS`: each CPU keeps the
//! counts of some flows in `FLOWS`, adds them to the maps once in some milliseconds, and the agent adds what is pending.

use aya_ebpf::{helpers::generated::bpf_jiffies64, macros::map, maps::PerCpuArray};
use portolan_ebpf::abi::{
    IPPROTO_TCP,
    flow::{FLOW_SLOTS, FlowSlot},
    traffic::{PeerCounters, PeerKey, PortCounters},
};

use crate::{
    maps::{Refusal, add, changed, ensure_peer, next_generation, peer_counters},
    ports::{epoch, may_be_counted, port_counters},
};

/// Jiffies that counts may be pending: 16 to 160 ms, so that the LRU of peers sees who is busy.
const PENDING_JIFFIES: u64 = 16;
/// Packets of others in a row after which a flow loses its slot. So two flows that alternate do not push out each other.
const PATIENCE: u32 = 8;

#[map]
static FLOWS: PerCpuArray<[FlowSlot; FLOW_SLOTS]> = PerCpuArray::pinned(1, 0);

/// Packets of one flow that arrived together.
struct Arrival {
    key: PeerKey,
    packets: u64,
    bytes: u64,
}

/// Counts what arrived of a flow, if its port is counted.
#[inline(always)]
pub fn count(key: PeerKey, packets: u64, bytes: u64) -> Result<(), Refusal> {
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
        return look_up(slot, &arrival, true);
    }
    if may_be_counted(&arrival.key.port) { look_up(slot, &arrival, false) } else { Ok(()) }
}

/// Counts in the maps, and lets the flow have the slot if it is free or its own. A function of its own in the kernel too, so
/// that the common case needs none of its registers.
#[inline(never)]
fn look_up(slot: &mut FlowSlot, arrival: &Arrival, is_own: bool) -> Result<(), Refusal> {
    let Arrival { key, packets, bytes } = arrival;
    // Before the lookups: should the port go meanwhile, then the sum is another one the next time.
    let epoch = epoch();
    if is_own {
        flush(slot);
        // Until it is found again.
        slot.epoch = epoch.wrapping_sub(1);
    }
    let Some(port) = port_counters(&key.port) else { return Ok(()) };
    // SAFETY: the pointer is into this CPU's value; only this program writes these two fields, and it does not nest.
    unsafe {
        (*port).packets += packets;
        (*port).bytes += bytes;
    }
    let peer = if key.port.protocol == IPPROTO_TCP {
        // Only a completed handshake makes a TCP peer: a SYN flood cannot push out real ones.
        let Some(peer) = peer_counters(key) else {
            changed();
            return Ok(());
        };
        peer
    } else {
        match ensure_peer(key, port) {
            Ok(peer) => peer,
            Err(refusal) => {
                changed();
                return Err(refusal);
            }
        }
    };
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    unsafe {
        add(&raw mut (*peer).packets, *packets);
        add(&raw mut (*peer).bytes, *bytes);
    }
    if is_own || slot.key.port.netns_cookie == 0 || slot.misses >= PATIENCE {
        keep(slot, key, port, peer, epoch);
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

/// Gives the slot to a flow that was just found.
#[inline(always)]
fn keep(slot: &mut FlowSlot, key: &PeerKey, port: *mut PortCounters, peer: *mut PeerCounters, epoch: u64) {
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

/// Adds what is pending to the port and the peer that it was counted for, if they are still there. The slot is emptied before:
/// the agent, who reads it last, then misses counts for a moment, and never sees them twice.
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
        // SAFETY: as in `look_up`.
        unsafe {
            if (*port).generation == slot.generation {
                (*port).packets += packets;
                (*port).bytes += bytes;
            }
        }
    }
    if let Some(peer) = peer_counters(&slot.key) {
        // SAFETY: as in `look_up`.
        unsafe {
            if (*peer).first_boot_ns == slot.peer_first_boot_ns {
                add(&raw mut (*peer).packets, packets);
                add(&raw mut (*peer).bytes, bytes);
            }
        }
    }
}

/// Moves the version on. Fetching makes it a full barrier: what was written before is seen before what is written after.
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
