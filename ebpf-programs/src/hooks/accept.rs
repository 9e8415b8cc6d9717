//! Connections: a handshake completed on a listener.

use aya_ebpf::programs::SockOpsContext;
use portolan_ebpf::abi::{
    connection::{CONNECTION_OPENED, ConnectionRecord},
    lost::LostSlot,
    traffic::{PeerKey, PortKey},
};

use super::{STATE_CB_FLAG, local_address, remote_address, socket_cookie, tcp_port};
use crate::{
    connections::{emit_connection, take_record},
    counter::{add, changed, counts_connections},
    peers::ensure_peer,
    ports::ensure_port,
};

/// Counts a completed handshake, whether or not accept(2) is called later. The count is exact even if the ring buffer is full.
#[inline(always)]
pub fn try_established(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    let key = tcp_port(ctx);
    let recorded_at = take_record(&key);
    let flags = ctx.cb_flags();
    // A child inherits its listener's flag, which costs four more calls per connection. Only a recorded connection needs them.
    if recorded_at.is_some() != (flags & STATE_CB_FLAG != 0) {
        let _ = ctx.set_cb_flags((flags ^ STATE_CB_FLAG) as i32);
    }
    // The record is emitted even if a map is full.
    let counted = if counts_connections() { count(ctx, &key) } else { Ok(()) };
    if let Some(at) = recorded_at {
        emit_connection(&connection(ctx, key, at, CONNECTION_OPENED, (0, 0)))?;
    }
    counted
}

#[inline(always)]
fn count(ctx: &SockOpsContext, key: &PortKey) -> Result<(), LostSlot> {
    let port = ensure_port(key)?;
    // SAFETY: the pointers are into map values, and the program holds the RCU read lock.
    unsafe { add(&raw mut (*port).connections, 1) };
    let peer = ensure_peer(&PeerKey { port: *key, address: remote_address(ctx) }, port);
    if let Ok(peer) = peer {
        // SAFETY: as above.
        unsafe { add(&raw mut (*peer).connections, 1) };
    }
    // Last, so that a drain that sees the change also sees the counts.
    changed();
    peer.map(|_| ())
}

/// Returns the record of the context's connection.
#[inline(always)]
pub fn connection(
    ctx: &SockOpsContext,
    port: PortKey,
    at_boot_ns: u64,
    kind: u32,
    (bytes_in, bytes_out): (u64, u64),
) -> ConnectionRecord {
    ConnectionRecord {
        kind,
        // A __be32: network order.
        remote_port: u32::from_be(ctx.remote_port()) as u16,
        reserved: 0,
        socket_cookie: socket_cookie(ctx),
        at_boot_ns,
        bytes_in,
        bytes_out,
        port,
        local_address: local_address(ctx),
        remote_address: remote_address(ctx),
        reserved_end: 0,
    }
}
