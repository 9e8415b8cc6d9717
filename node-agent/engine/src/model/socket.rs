//! Sockets as the kernel hooks and the scans report them.

use std::net::IpAddr;

use crate::model::identity::{BootTime, NetnsId, PortId, SocketCookie};
use crate::model::process::{Holder, Process};

/// A socket that began to serve, as a kernel hook reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSocket {
    /// The socket.
    pub cookie: SocketCookie,
    /// The port that the socket serves.
    pub port: PortId,
    /// Local address; unspecified for a wildcard. An IPv4 address on an IPv6 socket is given as IPv4.
    pub address: IpAddr,
    /// `Some(false)` for an IPv6 socket that also accepts IPv4; `None` where only a scan can tell.
    pub v6_only: Option<bool>,
    /// True if the socket is bound to a device at which nothing from outside the netns arrives (SO_BINDTODEVICE), whatever
    /// its address. A hook knows loopback only; a scan knows dummies, and devices that are gone.
    pub on_loopback: bool,
    /// The process that opened the socket; `None` where unknown.
    pub process: Option<Process>,
    /// When the socket began to serve.
    pub at: BootTime,
}

/// One socket of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedSocket {
    /// The socket.
    pub cookie: SocketCookie,
    /// The port that the socket serves.
    pub port: PortId,
    /// Local address, as in [`OpenedSocket::address`].
    pub address: IpAddr,
    /// `Some(false)` for an IPv6 socket that also accepts IPv4; `None` for an IPv4 socket.
    pub v6_only: Option<bool>,
    /// True if the socket is bound to a device at which nothing from outside the netns arrives (SO_BINDTODEVICE), whatever
    /// its address. A hook knows loopback only; a scan knows dummies, and devices that are gone.
    pub on_loopback: bool,
    /// Who holds the socket.
    pub holder: Holder,
}

/// The kernel's list of the serving sockets of one netns: TCP LISTEN, unconnected UDP, SCTP LISTEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsScan {
    /// The scanned netns.
    pub netns: NetnsId,
    /// Read before the first request was sent. A socket older than this that is not listed is gone.
    pub at: BootTime,
    /// Every serving socket.
    pub sockets: Vec<ScannedSocket>,
}
