//! The netns and interface in which a shared program runs, as the netns's own program handed them over.

use core::ffi::c_void;

use portolan_ebpf::abi::{lost::LostSlot, netns::LOOKUPS_ALL};

use crate::handover::HANDOVER;

/// Where a shared program runs.
#[derive(Clone, Copy)]
pub struct NetnsContext {
    netns_cookie: u64,
    link_header: u32,
    lookups: u32,
}

impl NetnsContext {
    /// Returns the cookie of the netns.
    #[inline(always)]
    pub const fn netns_cookie(self) -> u64 {
        self.netns_cookie
    }

    /// Returns the bytes of link header before the network header on this interface; `u32::MAX` if unknown.
    #[inline(always)]
    pub const fn link_header_length(self) -> u32 {
        self.link_header
    }

    /// Returns true if sk_lookup counts every caller of this netns; else only those inside it.
    #[inline(always)]
    pub const fn counts_all_lookups(self) -> bool {
        self.lookups == LOOKUPS_ALL
    }
}

/// Returns what was handed over for `context` in `slot` of `HANDOVER`.
///
/// The netns's own program wrote the value on this CPU just before, in the same run. No other tc program can run in between,
/// because tc programs run with bottom halves off. A lookup that a process began (sock_diag) may be interrupted by a
/// lookup that a packet began, and on PREEMPT_RT both kinds of program may be preempted by a program of the same kind. The
/// interrupting program then leaves another context in the slot. The context is written first and read last, so the
/// mismatch is noticed, and this run is counted as lost instead of being counted for the wrong netns.
#[inline(always)]
pub fn netns_context(slot: u32, context: *mut c_void) -> Result<NetnsContext, LostSlot> {
    let Some(handover) = HANDOVER.get_ptr(slot) else { return Err(LostSlot::HandoverFailed) };
    // SAFETY: a value of HANDOVER, which is an array: never freed. Volatile, for the order of the reads.
    unsafe {
        let netns_cookie = (&raw const (*handover).netns_cookie).read_volatile();
        let link_header = (&raw const (*handover).link_header).read_volatile();
        let lookups = (&raw const (*handover).lookups).read_volatile();
        if (&raw const (*handover).context).read_volatile() != context as u64 {
            return Err(LostSlot::HandoverFailed);
        }
        Ok(NetnsContext { netns_cookie, link_header, lookups })
    }
}
