//! Ends: a socket no longer listens, or a recorded connection ended.

use aya_ebpf::{
    bindings::bpf_sock_ops,
    macros::cgroup_sock,
    programs::{SockContext, SockOpsContext},
};
use portolan_ebpf::abi::{
    IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
    connection::{CONNECTION_CLOSED, OWN_FIN, OpenConnection, PEER_FIN},
    lost::LostSlot,
    socket::{LISTENER_CLOSED, ListenerValue},
};
use portolan_ebpf::packet::TCP_FIN;

use super::{
    PARSE_ALL_HDR_OPT_CB_FLAG, TCP_CLOSE, TCP_LISTEN, TcpHeader, accept::connection, netns_cookie_of,
    socket_cookie, tcp_header,
};
use crate::connections::{emit_connection, forget_connection, open_connection};
use crate::counter::now;
use crate::listeners::{emit_listener, listener_closed};
use crate::loss_log::count_and_log;

const TCP_FIN_WAIT1: u32 = 4;
const TCP_FIN_WAIT2: u32 = 5;
const TCP_TIME_WAIT: u32 = 6;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

/// Handles a state change, from args[0] to args[1], of a socket with the state flag: a listener that leaves LISTEN (also by
/// shutdown), or a recorded connection that this side closes, or that reaches CLOSE.
#[inline(always)]
pub fn try_state(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    if ctx.arg(0) == TCP_LISTEN {
        return listener_closed(socket_cookie(ctx)).map(|_| ());
    }
    match ctx.arg(1) {
        TCP_FIN_WAIT1 | TCP_LAST_ACK => {
            own_side_closes(ctx);
            Ok(())
        }
        TCP_CLOSE => connection_closed(ctx),
        _ => Ok(()),
    }
}

/// Notes that this side closes a recorded connection, before its FIN is queued. From now on the peer's FIN must be seen when it
/// arrives: a socket that nobody holds passes from FIN_WAIT2 to CLOSE with or without it.
#[inline(always)]
fn own_side_closes(ctx: &SockOpsContext) {
    let Some(open) = open_connection(socket_cookie(ctx)) else { return };
    // SAFETY: the pointer is into a map value; the kernel holds the socket's lock, so no other program changes it.
    unsafe {
        (*open).own_fin_from = (*ctx.ops).snd_nxt;
        (*open).fins |= OWN_FIN;
    }
    if ctx.arg(1) == TCP_FIN_WAIT1 {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | PARSE_ALL_HDR_OPT_CB_FLAG) as i32);
    }
}

/// Notes the FIN of the peer of a recorded connection that this side closed.
#[inline(always)]
pub fn packet_arrived(ctx: &SockOpsContext) {
    if word!(ctx.ops, bpf_sock_ops, skb_tcp_flags) & u32::from(TCP_FIN) == 0 {
        return;
    }
    let Some(open) = open_connection(socket_cookie(ctx)) else { return };
    let Some(TcpHeader { sequence, length }) = tcp_header(ctx) else { return };
    let payload = word!(ctx.ops, bpf_sock_ops, skb_len).wrapping_sub(length);
    // SAFETY: the pointer is into a map value; the kernel holds the socket's lock, so no other program changes it.
    unsafe {
        // A FIN takes a sequence number behind the payload.
        (*open).peer_fin_end = sequence.wrapping_add(payload).wrapping_add(1);
        (*open).fins |= PEER_FIN;
    }
}

#[inline(always)]
fn connection_closed(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    let cookie = socket_cookie(ctx);
    let Some(open) = open_connection(cookie) else { return Ok(()) };
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    let open = unsafe { *open };
    forget_connection(cookie);
    // SAFETY: both counters may be read by every sock_ops program.
    let (received, acked) = unsafe { ((*ctx.ops).bytes_received, (*ctx.ops).bytes_acked) };
    let (fin_received, fin_acked) = fins(ctx, &open);
    let (received, acked) = (received.saturating_sub(fin_received), acked.saturating_sub(fin_acked));
    emit_connection(&connection(ctx, &open, now(), CONNECTION_CLOSED, (received, acked)))
}

/// Returns how many FINs the kernel's counters of received and acknowledged bytes include, by the state before CLOSE: the
/// kernel counts a FIN as a byte (RFC 4898).
#[inline(always)]
fn fins(ctx: &SockOpsContext, open: &OpenConnection) -> (u64, u64) {
    // SAFETY: these fields may be read by every sock_ops program.
    let (rcv_nxt, snd_nxt, snd_una) = unsafe { ((*ctx.ops).rcv_nxt, (*ctx.ops).snd_nxt, (*ctx.ops).snd_una) };
    let was_sent = open.fins & OWN_FIN == 0 || snd_nxt != open.own_fin_from;
    let is_acked = u64::from(was_sent && snd_una == snd_nxt);
    match ctx.arg(0) {
        TCP_FIN_WAIT2 | TCP_TIME_WAIT => {
            // A FIN that arrived before missing data was not received.
            let was_received = open.fins & PEER_FIN != 0 && open.peer_fin_end == rcv_nxt;
            (u64::from(was_received), 1)
        }
        TCP_LAST_ACK | TCP_CLOSING => (1, is_acked),
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
        bound_interface: 0,
        reserved: [0; 8],
        comm: [0; 16],
    };
    emit_listener(LISTENER_CLOSED, cookie, &unknown)
}
