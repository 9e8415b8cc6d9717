//! The programs of one netns. Each hands over where it is attached and tail-calls the shared program of its hook. If the
//! tail call fails, the program counts a loss and returns the neutral verdict.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    macros::{classifier, map, sk_lookup},
    maps::{PerCpuArray, ProgramArray},
    programs::{SkLookupContext, TcContext},
};
use portolan_ebpf::abi::{
    lost::LostSlot,
    netns::{
        HANDOVER_INGRESS, HANDOVER_LOOKUP, LINK_HEADER_UNKNOWN, LINK_HEADER_UNSET, LOOKUPS_INSIDE,
        LOOKUPS_UNSET, NETNS_COOKIE_UNSET,
    },
};

use crate::handover::HANDOVER;

/// TCX_NEXT and TC_ACT_UNSPEC: the next program decides.
const NEXT: i32 = -1;
const SK_PASS: u32 = 1;

#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::pinned(LostSlot::ALL.len() as u32, 0);
/// The shared tc program. The kernel empties the array when the agent has ended.
#[map]
static SHARED_INGRESS: ProgramArray = ProgramArray::pinned(1, 0);
/// The shared sk_lookup program.
#[map]
static SHARED_LOOKUP: ProgramArray = ProgramArray::pinned(1, 0);

/// Attached to each interface. Loaded once per netns and kind of link header.
#[classifier]
fn portolan_tc(ctx: TcContext) -> i32 {
    let link_header: u64;
    // SAFETY: loads a constant.
    unsafe {
        core::arch::asm!(
            "{0} = {1}", out(reg) link_header, const LINK_HEADER_UNSET, options(pure, nomem, nostack)
        )
    };
    hand_over(HANDOVER_INGRESS, ctx.as_ptr(), link_header as u32, LOOKUPS_INSIDE);
    // SAFETY: nothing here needs to be dropped.
    unsafe { SHARED_INGRESS.tail_call(&ctx, 0) };
    count_failed_call();
    NEXT
}

/// Attached to the netns.
#[sk_lookup]
fn portolan_sk(ctx: SkLookupContext) -> u32 {
    let lookups: u64;
    // SAFETY: loads a constant.
    unsafe {
        core::arch::asm!("{0} = {1}", out(reg) lookups, const LOOKUPS_UNSET, options(pure, nomem, nostack))
    };
    hand_over(HANDOVER_LOOKUP, ctx.as_ptr(), LINK_HEADER_UNKNOWN, lookups as u32);
    // SAFETY: nothing here needs to be dropped.
    unsafe { SHARED_LOOKUP.tail_call(&ctx, 0) };
    count_failed_call();
    SK_PASS
}

/// Writes the constants of this netns for the shared program. `netns_context` of the shared programs explains which
/// interruptions can happen between the write and the read.
#[inline(always)]
fn hand_over(slot: u32, context: *mut c_void, link_header: u32, lookups: u32) {
    let netns_cookie: u64;
    // SAFETY: loads a constant. The constant is in the instruction: a global would need one more map for each netns.
    unsafe {
        core::arch::asm!(
            "{0} = {1} ll", out(reg) netns_cookie, const NETNS_COOKIE_UNSET, options(pure, nomem, nostack)
        )
    };
    let Some(handover) = HANDOVER.get_ptr_mut(slot) else { return };
    // SAFETY: a value of HANDOVER, which is an array: never freed. Volatile, for the order of the writes.
    unsafe {
        (&raw mut (*handover).context).write_volatile(context as u64);
        (&raw mut (*handover).netns_cookie).write_volatile(netns_cookie);
        (&raw mut (*handover).link_header).write_volatile(link_header);
        (&raw mut (*handover).lookups).write_volatile(lookups);
    }
}

/// Counts a tail call that returned, which means that there is no shared program.
#[inline(always)]
fn count_failed_call() {
    if let Some(counter) = LOST.get_ptr_mut(LostSlot::HandoverFailed as u32) {
        // SAFETY: a value of LOST, which is an array: never freed. A plain add is enough: nothing reads the
        // counter when the agent has ended.
        unsafe { *counter = (*counter).wrapping_add(1) }
    }
}
