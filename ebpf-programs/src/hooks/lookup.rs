//! The kernel looks for the socket that a SYN or a datagram is for: attempts.

use aya_ebpf::{EbpfContext, bindings::bpf_sk_lookup, macros::sk_lookup, programs::SkLookupContext};
use portolan_ebpf::abi::{
    AF_INET, IPPROTO_UDP,
    netns::HANDOVER_LOOKUP,
    traffic::{PeerKey, PortKey},
};

use super::{address, mapped};
use crate::diagnose::refused;
use crate::maps::{Place, Refusal, add, changed, ensure_peer, handed_over};
use crate::ports::{may_be_counted, port_counters};

const SK_PASS: u32 = 1;

/// Called by a netns's own program, once per SYN (closed ports and loopback included) and once per datagram to an
/// unconnected UDP socket, never for an established connection. Assigns nothing. Since 5.9.
/// <https://docs.kernel.org/bpf/prog_sk_lookup.html>
#[sk_lookup]
fn portolan_lookup(ctx: SkLookupContext) -> u32 {
    if let Err(refusal) = handed_over(HANDOVER_LOOKUP, ctx.as_ptr()).and_then(|place| try_lookup(&ctx, place))
    {
        refused("portolan_lookup", refusal);
    }
    SK_PASS
}

#[inline(always)]
fn try_lookup(ctx: &SkLookupContext, place: Place) -> Result<(), Refusal> {
    // SAFETY: every field of the context may be read.
    let (protocol, local_port) = unsafe { ((*ctx.lookup).protocol as u8, (*ctx.lookup).local_port as u16) };
    let key = PortKey { netns_cookie: place.netns_cookie(), port: local_port, protocol, reserved: [0; 5] };
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
