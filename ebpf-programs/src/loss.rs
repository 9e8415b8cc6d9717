//! Counts what the hooks had to drop. The map `LOST` is shared with the programs of each netns by its pin.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use portolan_ebpf::abi::lost::LostSlot;

use crate::counter::add;

#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::pinned(LostSlot::ALL.len() as u32, 0);

/// Counts one loss. Returns how many of this kind this CPU has counted, this one included.
#[inline(always)]
pub fn lost(slot: LostSlot) -> u64 {
    let Some(counter) = LOST.get_ptr_mut(slot as u32) else { return 0 };
    // SAFETY: a value of LOST, which is an array: never freed.
    unsafe {
        add(counter, 1);
        counter.read_volatile()
    }
}
