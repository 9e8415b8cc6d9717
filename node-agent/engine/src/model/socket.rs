//! Sockets as the kernel hooks and the scans report them.

use std::net::IpAddr;

use crate::model::identity::{BootTime, NetnsId, PortId, SocketCookie};
use crate::model::process::Process;

/// A socket that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSocket {
    pub cookie: SocketCookie,
    pub port: PortId,
    /// Local address; unspecified for a wildcard. An IPv4 address on an IPv6 socket is given as IPv4.
    pub address: IpAddr,
    /// An IPv6 socket that takes IPv4 as well: `Some(false)`; `None` where only a scan can tell.
    pub v6_only: Option<bool>,
    pub process: Option<Process>,
    pub at: BootTime,
}

/// One socket of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedSocket {
    pub cookie: SocketCookie,
    pub port: PortId,
    pub address: IpAddr,
    /// `None` for IPv4 sockets.
    pub v6_only: Option<bool>,
    pub process: Option<Process>,
}

/// The kernel's own list of the sockets that serve in one netns (TCP LISTEN, unconnected UDP, SCTP LISTEN).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsScan {
    pub netns: NetnsId,
    /// Taken before the first request was sent: a socket older than this that is not listed is gone.
    pub at: BootTime,
    pub sockets: Vec<ScannedSocket>,
}
