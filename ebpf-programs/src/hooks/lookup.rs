//! Attempts: the kernel looks up the socket for a SYN or a datagram.

use aya_ebpf::{EbpfContext, bindings::bpf_sk_lookup, macros::sk_lookup, programs::SkLookupContext};
use portolan_ebpf::abi::{
    AF_INET, IPPROTO_UDP,
    lost::LostSlot,
    netns::HANDOVER_LOOKUP,
    traffic::{PEER_ADDRESSED, PeerKey, PortKey},
};

use super::{address, mapped};
use crate::counter::{add, changed};
use crate::loss_log::count_and_log;
use crate::netns_context::{NetnsContext, netns_context};
use crate::peers::hear_peer;
use crate::ports::{may_be_counted, port_counters};

const SK_PASS: u32 = 1;
/// Called by a netns's own program: once per SYN (closed ports and loopback included) and once per datagram to an
/// unconnected UDP socket, never for an established connection. Also for ICMP errors, for packets that UDP GRO may merge, and for
/// programs that look sockets up. Never assigns a socket. Since 5.9.
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
    // SAFETY: as for the other fields.
    let (remote, local) = if unsafe { (*ctx.lookup).family } == u32::from(AF_INET) {
        (
            mapped(word!(ctx.lookup, bpf_sk_lookup, remote_ip4)),
            mapped(word!(ctx.lookup, bpf_sk_lookup, local_ip4)),
        )
    } else {
        (
            address(words!(ctx.lookup, bpf_sk_lookup, remote_ip6)),
            address(words!(ctx.lookup, bpf_sk_lookup, local_ip6)),
        )
    };
    // The arriving interface says less: for one of the netns's own addresses, the kernel names the interface that has it.
    let is_inside = remote == local || is_loopback(&remote) || is_loopback(&local);
    if !is_inside && !netns.counts_all_lookups() {
        return Ok(());
    }
    let key = PortKey::new(netns.netns_cookie(), local_port, protocol);
    if !may_be_counted(&key) {
        return Ok(());
    }
    let Some(port) = port_counters(&key) else { return Ok(()) };
    if protocol != IPPROTO_UDP {
        // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
        unsafe { add(&raw mut (*port).attempts, 1) };
        changed();
        return Ok(());
    }
    // The kernel finds connected sockets without this program.
    let peer = hear_peer(&PeerKey { port: key, address: remote }, port, || false);
    // SAFETY: the pointers are into map values, and the program holds the RCU read lock.
    unsafe {
        match peer {
            // An answer or an ICMP error: they look alike here.
            Ok(peer) if (*peer).direction == PEER_ADDRESSED => return Ok(()),
            Ok(peer) => add(&raw mut (*peer).attempts, 1),
            Err(_) => {}
        }
        add(&raw mut (*port).attempts, 1);
    }
    changed();
    peer.map(|_| ())
}

/// Returns true for 127.0.0.0/8 (IPv4 mapped) and ::1.
#[inline(always)]
fn is_loopback(address: &[u8; 16]) -> bool {
    let [high, low]: [u64; 2] = zerocopy::transmute!(*address);
    if high != 0 {
        return false;
    }
    let low = u64::from_be(low);
    low == 1 || low >> 24 == 0xff_ff7f
}
