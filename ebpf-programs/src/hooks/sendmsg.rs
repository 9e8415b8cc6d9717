//! Whom UDP sockets address: what comes from there afterwards are answers, not calls.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use portolan_ebpf::abi::{
    IPPROTO_UDP,
    lost::LostSlot,
    traffic::{EVERYBODY, PeerKey, PortKey},
};

use super::{address, mapped, netns_cookie_of};
use crate::addressed::remember;
use crate::loss_log::count_and_log;
use crate::peers::{address_everybody, address_peer};
use crate::ports::{may_be_counted, port_counters};

/// Called when a socket sends a datagram to an address that it names: by sendto(2), sendmsg(2), sendmmsg(2), never by a send(2)
/// on a connected socket. The port is bound by then. An IPv6 socket that sends to an IPv4-mapped address comes here too. Since
/// 4.18; the socket since 5.3, its netns cookie since 5.7. <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_CGROUP_SOCK_ADDR/>
#[cgroup_sock_addr(sendmsg4)]
fn portolan_send4(ctx: SockAddrContext) -> i32 {
    let destination = word!(ctx.sock_addr, bpf_sock_addr, user_ip4);
    let [a, .., d] = destination.to_ne_bytes();
    let reach = if a & 0xf0 == 0xe0 {
        Reach::Many
    } else if d == 255 {
        // A broadcast address of a network of 256 addresses or more, or one socket in a larger network.
        Reach::OneOrMany
    } else {
        Reach::One
    };
    // The kernel sends what is for 0.0.0.0 to the node itself.
    let destination = if destination == 0 { u32::from_ne_bytes([127, 0, 0, 1]) } else { destination };
    if let Err(loss) = try_sendmsg(&ctx, mapped(destination), reach) {
        count_and_log("portolan_send4", loss);
    }
    1
}

/// Like [`portolan_send4`], for IPv6 destinations.
#[cgroup_sock_addr(sendmsg6)]
fn portolan_send6(ctx: SockAddrContext) -> i32 {
    let mut destination = address(words!(ctx.sock_addr, bpf_sock_addr, user_ip6));
    let [high, low]: [u64; 2] = zerocopy::transmute!(destination);
    if high | low == 0 {
        // The kernel sends what is for :: to ::1.
        destination[15] = 1;
    }
    let reach = if destination[0] == 0xff { Reach::Many } else { Reach::One };
    if let Err(loss) = try_sendmsg(&ctx, destination, reach) {
        count_and_log("portolan_send6", loss);
    }
    1
}

/// Returns only the verdict. The benchmarks compare its cost with that of `portolan_send4`.
#[cgroup_sock_addr(sendmsg4)]
fn portolan_empty_send(_ctx: SockAddrContext) -> i32 {
    1
}

/// Who may receive a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    One,
    OneOrMany,
    Many,
}

#[inline(always)]
fn try_sendmsg(ctx: &SockAddrContext, destination: [u8; 16], reach: Reach) -> Result<(), LostSlot> {
    // SAFETY: these fields may be read by every sendmsg program. The socket is there.
    let (protocol, socket) = unsafe { ((*ctx.sock_addr).protocol, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if protocol != u32::from(IPPROTO_UDP) {
        return Ok(());
    }
    let port = PortKey::new(netns_cookie_of(ctx), word!(socket, bpf_sock, src_port) as u16, IPPROTO_UDP);
    let peer = PeerKey { port, address: destination };
    let everybody = PeerKey { port, address: EVERYBODY };
    let counters = if may_be_counted(&port) { port_counters(&port) } else { None };
    let Some(counters) = counters else {
        if reach != Reach::Many {
            remember(&peer);
        }
        if reach != Reach::One {
            remember(&everybody);
        }
        return Ok(());
    };
    let asked = if reach == Reach::One { Ok(()) } else { address_everybody(&everybody, counters) };
    if reach == Reach::Many { asked } else { address_peer(&peer, counters).and(asked) }
}
