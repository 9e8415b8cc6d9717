//! Connections: a handshake completed on a listener.

use aya_ebpf::{bindings::bpf_sock_ops, programs::SockOpsContext};
use portolan_ebpf::abi::{
    IPPROTO_TCP,
    connection::{CONNECTION_OPENED, ConnectionRecord, OpenConnection},
    lost::LostSlot,
    traffic::{PeerKey, PortCounters, PortKey},
};

use super::{
    STATE_CB_FLAG, TcpHeader, local_address, remote_address, remote_port, socket_cookie, tcp_header, tcp_port,
};
use crate::{
    connections::{emit_connection, remember_connection, take_record},
    counter::{add, changed, counts_connections},
    loss_log::count_and_log,
    peers::ensure_peer,
    ports::{ensure_port, port_counters},
    redirects::{Dialled, dialled, ensure_redirected_port, handshake},
};

/// Counts a completed handshake, whether or not accept(2) is called later. The count is exact even if the ring buffer is full.
#[inline(always)]
pub fn try_established(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    let accepting = tcp_port(ctx);
    let remote = remote_address(ctx);
    // SAFETY: may be read by every sock_ops program. Nothing was received yet but the SYN, which has one number.
    let sequence = unsafe { (*ctx.ops).rcv_nxt }.wrapping_sub(1);
    let address = zerocopy::transmute!(remote);
    let syn = dialled(handshake(accepting.netns_cookie, address, remote_port(ctx), sequence));
    let is_redirected = syn.port != 0 && syn.port != accepting.port;
    let dialled =
        if is_redirected { PortKey::new(accepting.netns_cookie, syn.port, IPPROTO_TCP) } else { accepting };
    // Asked before the counters are created: did tc count the packet that completes the handshake?
    let had_redirected = is_redirected && port_counters(&dialled).is_some();
    let (mut port, mut accepted_port) = (dialled, if is_redirected { accepting.port } else { 0 });
    if is_redirected && !had_redirected {
        // Without room for the counters of the dialled port, the connection counts for the accepting one.
        if let Err(loss) = ensure_redirected_port(&dialled) {
            count_and_log("portolan_tcp", loss);
            (port, accepted_port) = (accepting, 0);
        }
    }
    let recorded_at = take_record(&port);
    // A child inherits its listener's flag. It is never cleared: another agent, or another program, may have set it.
    if recorded_at.is_some() {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | STATE_CB_FLAG) as i32);
    }
    // The record is emitted even if a map is full.
    let counted = if counts_connections() {
        // Looked up right before it is used: the agent may delete the entry at any time.
        let counters = port_counters(&port);
        let had_counters = syn.port == 0 || if is_redirected { had_redirected } else { counters.is_some() };
        counters.map_or_else(|| ensure_port(&port), Ok).and_then(|counters| {
            count(ctx, &PeerKey::new(port, address), counters, accepted_port, syn, had_counters)
        })
    } else {
        Ok(())
    };
    if let Some(at) = recorded_at {
        let open = OpenConnection { port, accepted_port, ..OpenConnection::default() };
        remember_connection(socket_cookie(ctx), &open);
        emit_connection(&connection(ctx, &open, at, CONNECTION_OPENED, (0, 0)))?;
    }
    counted
}

/// Counts a connection for its port, whose counters are given, and its peer. All fields of `syn` are 0 if no interface saw it.
/// `had_counters`: tc counted the packet that completed the handshake.
#[inline(always)]
fn count(
    ctx: &SockOpsContext,
    key: &PeerKey,
    counters: *mut PortCounters,
    accepted_port: u16,
    syn: Dialled,
    had_counters: bool,
) -> Result<(), LostSlot> {
    // SAFETY: the pointers are into map values, and the program holds the RCU read lock.
    unsafe {
        add(&raw mut (*counters).connections, 1);
        if syn.port != 0 && !syn.was_counted {
            add(&raw mut (*counters).attempts, 1);
            add(&raw mut (*counters).packets, 1);
            add(&raw mut (*counters).bytes, syn.length);
        }
        if !had_counters {
            let (packets, bytes) = arrived_with(ctx, &key.address);
            add(&raw mut (*counters).packets, packets);
            add(&raw mut (*counters).bytes, bytes);
        }
    }
    let peer = ensure_peer(key, counters);
    if let Ok(peer) = peer {
        // SAFETY: as above.
        unsafe {
            add(&raw mut (*peer).connections, 1);
            if accepted_port != 0 {
                (*peer).accepted_port = accepted_port;
            }
        }
    }
    // Last, so that a drain that sees the change also sees the counts.
    changed();
    peer.map(|_| ())
}

/// Returns packets and bytes of the packet that completed the handshake, as tc would have counted them. It may carry data, many
/// segments of them. Since 5.10.
#[inline(always)]
fn arrived_with(ctx: &SockOpsContext, remote: &[u8; 16]) -> (u64, u64) {
    let length = word!(ctx.ops, bpf_sock_ops, skb_len);
    let Some(TcpHeader { length: header, .. }) = tcp_header(ctx) else { return (0, 0) };
    let [high, low]: [u64; 2] = zerocopy::transmute!(*remote);
    let is_v4 = high == 0 && low as u32 == u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let headers = header + if is_v4 { 20 } else { 40 };
    let payload = length.saturating_sub(header);
    // SAFETY: the field may be read by every sock_ops program.
    let most = unsafe { (*ctx.ops).mss_cache }.max(1);
    let segments = payload.div_ceil(most).max(1);
    (segments.into(), u64::from(payload) + u64::from(segments) * u64::from(headers))
}

/// Returns the record of the context's connection.
#[inline(always)]
pub fn connection(
    ctx: &SockOpsContext,
    open: &OpenConnection,
    at_boot_ns: u64,
    kind: u32,
    (bytes_in, bytes_out): (u64, u64),
) -> ConnectionRecord {
    ConnectionRecord {
        kind,
        remote_port: remote_port(ctx),
        accepted_port: open.accepted_port,
        socket_cookie: socket_cookie(ctx),
        at_boot_ns,
        bytes_in,
        bytes_out,
        port: open.port,
        local_address: local_address(ctx),
        remote_address: remote_address(ctx),
        reserved_end: 0,
    }
}
