//! Single connections on recorded ports.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::{BootTime, PortId, SocketCookie};
use crate::model::pod::PodRef;
use crate::model::traffic::{Dialled, Origin, Via};

/// What happened to one connection on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionFact {
    Opened(ConnectionOpened),
    Closed(ConnectionClosed),
}

/// A completed handshake on a recorded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOpened {
    pub cookie: SocketCookie,
    pub port: PortId,
    pub local: IpAddr,
    pub remote: (IpAddr, u16),
    /// `None`: dialled as it is, or nobody knows.
    pub dialled: Option<Dialled>,
    pub at: BootTime,
}

/// The end of a recorded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionClosed {
    pub opened: ConnectionOpened,
    pub at: BootTime,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// One connection on a recorded port.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// As [`Listener::id`], before it is written as text.
    pub listener_id: u64,
    pub port: PortId,
    pub local: IpAddr,
    pub remote: (IpAddr, u16),
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the pod that connected, where known.
    pub reference: Option<Arc<str>>,
    /// What it dialled, where that was not the pod's own address.
    pub via: Option<Arc<Via>>,
    pub opened_at: BootTime,
    /// `None`: still open.
    pub closed_at: Option<BootTime>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub pod: Option<Arc<PodRef>>,
}
