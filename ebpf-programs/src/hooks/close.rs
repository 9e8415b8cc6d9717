//! Ends: a socket no longer listens, or a recorded connection ended.

use aya_ebpf::{
    macros::cgroup_sock,
    programs::{SockContext, SockOpsContext},
};
use portolan_ebpf::abi::{
    IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
    connection::CONNECTION_CLOSED,
    lost::LostSlot,
    socket::{LISTENER_CLOSED, ListenerValue},
};

use super::{TCP_CLOSE, TCP_LISTEN, accept::connection, netns_cookie_of, socket_cookie, tcp_port};
use crate::connections::{emit_connection, is_recorded};
use crate::counter::now;
use crate::listeners::{emit_listener, listener_closed};
use crate::loss_log::count_and_log;

const TCP_FIN_WAIT2: u32 = 5;
const TCP_TIME_WAIT: u32 = 6;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

/// Handles a state change, from args[0] to args[1], of a socket with the state flag: a listener that leaves LISTEN (also by
/// shutdown), or a recorded connection that reaches CLOSE.
#[inline(always)]
pub fn try_state(ctx: &SockOpsContext) -> Result<(), LostSlot> {
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

/// Returns how many FINs the kernel's counters of received and acknowledged bytes include, by the state before CLOSE: the
/// kernel counts a FIN as a byte (RFC 4898). In FIN_WAIT2 the peer is assumed to have sent its FIN.
#[inline(always)]
fn fins(before: u32) -> (u64, u64) {
    match before {
        TCP_FIN_WAIT2 | TCP_TIME_WAIT | TCP_LAST_ACK | TCP_CLOSING => (1, 1),
        TCP_CLOSE_WAIT => (1, 0),
        _ => (0, 0),
    }
}

/// Called when the last reference to any inet socket is dropped. Cannot read the port. Since 5.9.
/// <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_CGROUP_SOCK/>
#[cgroup_sock(sock_release)]
fn portolan_release(ctx: SockContext) -> i32 {
    if let Err(loss) = try_release(&ctx) {
        count_and_log("portolan_release", loss);
    }
    1
}

#[inline(always)]
fn try_release(ctx: &SockContext) -> Result<(), LostSlot> {
    // SAFETY: protocol, state and family may be read by every cgroup_sock program.
    let (protocol, state, family) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).state, (*ctx.sock).family) };
    let is_udp = protocol == u32::from(IPPROTO_UDP);
    // The context of an accepted MPTCP socket carries its listener's cookie with another state. Only LISTEN ends a listener.
    if !is_udp && state != TCP_LISTEN {
        return Ok(());
    }
    let cookie = socket_cookie(ctx);
    if listener_closed(cookie)? || is_udp {
        return Ok(());
    }
    // The socket is older than the agent, or SCTP. The agent knows its cookie from a scan.
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
