//! Connections: a handshake completed on a listener.

use aya_ebpf::programs::SockOpsContext;
use portolan_ebpf::abi::{
    connection::{CONNECTION_OPENED, ConnectionRecord, OpenConnection},
    lost::LostSlot,
    traffic::{PeerKey, PortKey},
};

use super::{STATE_CB_FLAG, local_address, remote_address, socket_cookie, tcp_port};
use crate::{
    connections::{emit_connection, remember_connection, take_record},
    counter::{add, changed, counts_connections},
    peers::ensure_peer,
    ports::ensure_port,
    redirects::{client, dialled, ensure_redirected_port},
};

/// Counts a completed handshake, whether or not accept(2) is called later. The count is exact even if the ring buffer is full.
#[inline(always)]
pub fn try_established(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    let accepting = tcp_port(ctx);
    let remote = remote_address(ctx);
    let (call, redirected) = dialled_call(ctx, accepting, remote);
    let recorded_at = take_record(&call.port);
    let flags = ctx.cb_flags();
    // A child inherits its listener's flag, which costs four more calls per connection. Only a recorded connection needs them.
    if recorded_at.is_some() != (flags & STATE_CB_FLAG != 0) {
        let _ = ctx.set_cb_flags((flags ^ STATE_CB_FLAG) as i32);
    }
    // The record is emitted even if a map is full.
    let counted = if counts_connections() { count(&call, remote) } else { Ok(()) };
    if let Some(at) = recorded_at {
        let open = OpenConnection {
            port: call.port,
            accepted_port: call.accepted_port,
            ..OpenConnection::default()
        };
        remember_connection(socket_cookie(ctx), &open);
        emit_connection(&connection(ctx, &open, at, CONNECTION_OPENED, (0, 0)))?;
    }
    counted.and(redirected)
}

/// A completed handshake, and the port that it counts for.
struct Call {
    /// The port that the client dialled.
    port: PortKey,
    /// The port of the accepting socket, if that is another one; else 0.
    accepted_port: u16,
    /// True if the SYN arrived before the port had counters.
    misses_attempt: bool,
}

/// Returns which port the client dialled: the one of its SYN at the interface, else the accepting one. If there is no room for the
/// counters of the dialled port, the connection counts for the accepting one, and the loss is returned too.
#[inline(always)]
fn dialled_call(ctx: &SockOpsContext, accepting: PortKey, remote: [u8; 16]) -> (Call, Result<(), LostSlot>) {
    let direct = Call { port: accepting, accepted_port: 0, misses_attempt: false };
    // A __be32: network order.
    let remote_port = u32::from_be(ctx.remote_port()) as u16;
    let Some(syn) = dialled(&client(accepting.netns_cookie, remote, remote_port)) else {
        return (direct, Ok(()));
    };
    let misses_attempt = !syn.was_counted;
    if syn.port == accepting.port {
        return (Call { misses_attempt, ..direct }, Ok(()));
    }
    let port = PortKey { port: syn.port, ..accepting };
    match ensure_redirected_port(&port) {
        Ok(_) => (Call { port, accepted_port: accepting.port, misses_attempt }, Ok(())),
        Err(loss) => (direct, Err(loss)),
    }
}

#[inline(always)]
fn count(call: &Call, remote: [u8; 16]) -> Result<(), LostSlot> {
    let port = ensure_port(&call.port)?;
    // SAFETY: the pointers are into map values, and the program holds the RCU read lock.
    unsafe {
        add(&raw mut (*port).connections, 1);
        if call.misses_attempt {
            add(&raw mut (*port).attempts, 1);
        }
    }
    let peer = ensure_peer(&PeerKey { port: call.port, address: remote }, port);
    if let Ok(peer) = peer {
        // SAFETY: as above.
        unsafe {
            add(&raw mut (*peer).connections, 1);
            if call.accepted_port != 0 {
                (*peer).accepted_port = call.accepted_port;
            }
        }
    }
    // Last, so that a drain that sees the change also sees the counts.
    changed();
    peer.map(|_| ())
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
        // A __be32: network order.
        remote_port: u32::from_be(ctx.remote_port()) as u16,
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
