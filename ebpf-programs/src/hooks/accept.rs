//! A handshake completed on a listener.

use aya_ebpf::programs::SockOpsContext;
use portolan_ebpf::abi::{
    connection::{CONNECTION_OPENED, ConnectionRecord},
    traffic::{PeerKey, PortKey},
};

use super::{STATE_CB_FLAG, local_address, remote_address, socket_cookie, tcp_port};
use crate::{
    maps::{Refusal, add, changed, counts_connections, emit_connection, ensure_peer, take_record},
    ports::ensure_port,
};

/// The kernel completed a handshake; accept(2) may never be called. Counted exactly, whatever the ring does.
#[inline(always)]
pub fn try_established(ctx: &SockOpsContext) -> Result<(), Refusal> {
    let key = tcp_port(ctx);
    let recorded_at = take_record(&key);
    let flags = ctx.cb_flags();
    // A child inherits its listener's flag: four more calls per connection that nobody needs, unless it is recorded.
    if recorded_at.is_some() != (flags & STATE_CB_FLAG != 0) {
        let _ = ctx.set_cb_flags((flags ^ STATE_CB_FLAG) as i32);
    }
    // A full map is no reason to leave the record out.
    let counted = if counts_connections() { count(ctx, &key) } else { Ok(()) };
    if let Some(at) = recorded_at {
        emit_connection(&connection(ctx, key, at, CONNECTION_OPENED, (0, 0)))?;
    }
    counted
}

#[inline(always)]
fn count(ctx: &SockOpsContext, key: &PortKey) -> Result<(), Refusal> {
    let port = ensure_port(key)?;
    // SAFETY: the pointers are into map values, and the program holds the RCU read lock.
    unsafe { add(&raw mut (*port).connections, 1) };
    let peer = ensure_peer(&PeerKey { port: *key, address: remote_address(ctx) }, port);
    if let Ok(peer) = peer {
        // SAFETY: as above.
        unsafe { add(&raw mut (*peer).connections, 1) };
    }
    // Last: a drain that comes between sees what it announces.
    changed();
    peer.map(|_| ())
}

/// The record of the connection that a context is about.
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
        // Network order, as a __be32.
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
