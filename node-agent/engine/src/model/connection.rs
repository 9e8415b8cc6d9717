//! Single connections on recorded ports.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::{BootTime, NetnsId, PortId, SocketCookie};
use crate::model::pod::PodRef;
use crate::model::traffic::{Dialled, Origin, Via};

/// A change of one connection on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionFact {
    /// The connection completed its handshake.
    Opened(ConnectionOpened),
    /// The connection ended.
    Closed(ConnectionClosed),
}

/// A completed handshake on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOpened {
    /// Cookie of the connection's socket.
    pub cookie: SocketCookie,
    /// The recorded port.
    pub port: PortId,
    /// Local address.
    pub local: IpAddr,
    /// Remote address and port as the pod sees them.
    pub remote: (IpAddr, u16),
    /// Translation of the connection; `None` if it was not translated or connection tracking did not report it.
    pub dialled: Option<Dialled>,
    /// The port of the accepting socket, where a rule in the netns redirected the connection from `port`.
    pub accepted_by: Option<NonZeroU16>,
    /// When the handshake completed.
    pub at: BootTime,
}

/// The end of a recorded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionClosed {
    /// The beginning of the same connection.
    pub opened: ConnectionOpened,
    /// When the connection ended.
    pub at: BootTime,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// The kernel's list of the TCP connections of one netns. Requested by
/// [`Change::ListConnections`](crate::model::change::Change::ListConnections).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionList {
    /// The listed netns.
    pub netns: NetnsId,
    /// Read before the request was sent. A connection older than this that is not listed has ended.
    pub at: BootTime,
    /// Every connection that has not ended.
    pub connections: Vec<ListedConnection>,
}

/// One connection of a [`ConnectionList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedConnection {
    /// Cookie of the connection's socket.
    pub cookie: SocketCookie,
    /// Bytes received until now.
    pub bytes_in: u64,
    /// Bytes sent and acknowledged until now.
    pub bytes_out: u64,
}

/// One connection on a recorded port, as reports show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Numeric form of [`Listener::id`](crate::model::listener::Listener::id).
    pub listener_id: u64,
    /// The recorded port.
    pub port: PortId,
    /// Local address.
    pub local: IpAddr,
    /// Remote address and port as the pod sees them.
    pub remote: (IpAddr, u16),
    /// Where the client is.
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the client's pod, where known.
    pub reference: Option<Arc<str>>,
    /// The dialled address, where that was not the pod's own.
    pub via: Option<Arc<Via>>,
    /// When the handshake completed.
    pub opened_at: BootTime,
    /// When the connection ended; `None` while it is open.
    pub closed_at: Option<BootTime>,
    /// Bytes received; those of the latest list while the connection is open.
    pub bytes_in: u64,
    /// Bytes sent; those of the latest list while the connection is open.
    pub bytes_out: u64,
    /// The pod that serves the port, where known.
    pub pod: Option<Arc<PodRef>>,
}
