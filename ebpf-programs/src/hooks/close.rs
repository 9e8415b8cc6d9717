//! A socket ends to serve, or a recorded connection ends.

use aya_ebpf::{
    macros::cgroup_sock,
    programs::{SockContext, SockOpsContext},
};
use portolan_ebpf::abi::{
    IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
    connection::CONNECTION_CLOSED,
    socket::{LISTENER_CLOSED, ListenerValue},
};

use super::{TCP_CLOSE, TCP_LISTEN, accept::connection, netns_cookie_of, socket_cookie, tcp_port};
use crate::diagnose::refused;
use crate::maps::{Refusal, emit_connection, emit_listener, is_recorded, listener_closed, now};

const TCP_FIN_WAIT2: u32 = 5;
const TCP_TIME_WAIT: u32 = 6;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

/// A socket that carries the state flag changed from the state in args[0] to that in args[1]: a listener that leaves
/// LISTEN (also by shutdown), or a recorded connection that reaches CLOSE.
#[inline(always)]
pub fn try_state(ctx: &SockOpsContext) -> Result<(), Refusal> {
    if ctx.arg(0) == TCP_LISTEN {
        return listener_closed(socket_cookie(ctx)).map(|_| ());
    }
    if ctx.arg(1) != TCP_CLOSE {
        return Ok(());
    }
    let port = tcp_port(ctx);
    if !is_recorded(&port) {
        return Ok(());
    }
    // SAFETY: both counters may be read by every sock_ops program.
    let (received, acked) = unsafe { ((*ctx.ops).bytes_received, (*ctx.ops).bytes_acked) };
    let (fin_received, fin_acked) = fins(ctx.arg(0));
    let (received, acked) = (received.saturating_sub(fin_received), acked.saturating_sub(fin_acked));
    emit_connection(&connection(ctx, port, now(), CONNECTION_CLOSED, (received, acked)))
}

/// The kernel's byte counters count a FIN as a byte (RFC 4898): which ones were in them, by the state before CLOSE. A peer
/// that never answered in FIN_WAIT2 is taken for one that did.
#[inline(always)]
fn fins(before: u32) -> (u64, u64) {
    match before {
        TCP_FIN_WAIT2 | TCP_TIME_WAIT | TCP_LAST_ACK | TCP_CLOSING => (1, 1),
        TCP_CLOSE_WAIT => (1, 0),
        _ => (0, 0),
    }
}

/// Called when the last reference to any inet socket is dropped; it may not read the port. Since 5.9.
/// <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_CGROUP_SOCK/>
#[cgroup_sock(sock_release)]
fn portolan_release(ctx: SockContext) -> i32 {
    if let Err(refusal) = try_release(&ctx) {
        refused("portolan_release", refusal);
    }
    1
}

#[inline(always)]
fn try_release(ctx: &SockContext) -> Result<(), Refusal> {
    // SAFETY: protocol, state and family may be read by every cgroup_sock program.
    let (protocol, state, family) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).state, (*ctx.sock).family) };
    let is_udp = protocol == u32::from(IPPROTO_UDP);
    // Of an accepted MPTCP socket this carries the listener's cookie with another state: only LISTEN ends a listener.
    if !is_udp && state != TCP_LISTEN {
        return Ok(());
    }
    let cookie = socket_cookie(ctx);
    if listener_closed(cookie)? || is_udp {
        return Ok(());
    }
    // Older than the agent, or SCTP: the agent knows it by its cookie from a scan.
    let unknown = ListenerValue {
        netns_cookie: netns_cookie_of(ctx),
        opened_boot_ns: 0,
        cgroup_id: 0,
        tgid: 0,
        uid: u32::MAX,
        address: [0; 16],
        port: 0,
        family: family as u8,
        protocol: if protocol == u32::from(IPPROTO_SCTP) { IPPROTO_SCTP } else { IPPROTO_TCP },
        reserved: [0; 12],
        comm: [0; 16],
    };
    emit_listener(LISTENER_CLOSED, cookie, &unknown)
}
