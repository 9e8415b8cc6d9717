//! Attempts: the kernel looks up the socket for a SYN or a datagram.

use aya_ebpf::{EbpfContext, bindings::bpf_sk_lookup, macros::sk_lookup, programs::SkLookupContext};
use portolan_ebpf::abi::{
    AF_INET, IPPROTO_UDP,
    lost::LostSlot,
    netns::HANDOVER_LOOKUP,
    traffic::{PeerKey, PortKey},
};

use super::{address, mapped};
use crate::counter::{add, changed};
use crate::loss_log::count_and_log;
use crate::netns_context::{NetnsContext, netns_context};
use crate::peers::ensure_peer;
use crate::ports::{may_be_counted, port_counters};

const SK_PASS: u32 = 1;

/// Called by a netns's own program: once per SYN (closed ports and loopback included) and once per datagram to an
/// unconnected UDP socket, never for an established connection. Never assigns a socket. Since 5.9.
/// <https://docs.kernel.org/bpf/prog_sk_lookup.html>
#[sk_lookup]
fn portolan_lookup(ctx: SkLookupContext) -> u32 {
    let netns = netns_context(HANDOVER_LOOKUP, ctx.as_ptr());
    if let Err(loss) = netns.and_then(|netns| try_lookup(&ctx, netns)) {
        count_and_log("portolan_lookup", loss);
    }
    SK_PASS
}

#[inline(always)]
fn try_lookup(ctx: &SkLookupContext, netns: NetnsContext) -> Result<(), LostSlot> {
    // SAFETY: every field of the context may be read.
    let (protocol, local_port) = unsafe { ((*ctx.lookup).protocol as u8, (*ctx.lookup).local_port as u16) };
    let key = PortKey { netns_cookie: netns.netns_cookie(), port: local_port, protocol, reserved: [0; 5] };
    if !may_be_counted(&key) {
        return Ok(());
    }
    let Some(port) = port_counters(&key) else { return Ok(()) };
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    unsafe { add(&raw mut (*port).attempts, 1) };
    if protocol != IPPROTO_UDP {
        changed();
        return Ok(());
    }
    // SAFETY: as for the other fields.
    let remote = if unsafe { (*ctx.lookup).family } == u32::from(AF_INET) {
        mapped(word!(ctx.lookup, bpf_sk_lookup, remote_ip4))
    } else {
        address(words!(ctx.lookup, bpf_sk_lookup, remote_ip6))
    };
    let peer = ensure_peer(&PeerKey { port: key, address: remote }, port);
    if let Ok(peer) = peer {
        // SAFETY: as above.
        unsafe { add(&raw mut (*peer).attempts, 1) };
    }
    changed();
    peer.map(|_| ())
}
