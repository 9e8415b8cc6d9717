//! What is known about a network namespace besides its sockets, and how its paths are normalized.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::identity::{BootTime, NetnsId, PortId};

/// What is known about a netns besides its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFacts {
    /// The netns.
    pub netns: NetnsId,
    /// Inode number, as `ls -i` and `lsns` show it.
    pub inode: u64,
    /// Canonical paths where the netns is mounted (`/run/netns/NAME`); empty where only processes hold it.
    pub paths: Vec<String>,
    /// True for the host's own netns.
    pub is_host: bool,
    /// Addresses of the netns's interfaces with their prefix, loopback included.
    pub addresses: Vec<IpNet>,
    /// True if a tap device leads to a virtual machine. The ports of its guest have no sockets in this kernel.
    pub has_guest: bool,
    /// First and last ephemeral port (`net.ipv4.ip_local_port_range`).
    pub ephemeral_ports: (u16, u16),
}

/// Ports of a netns that its own rules forward to another netns or to a virtual machine, as its connection tracking
/// shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedPorts {
    /// The netns.
    pub netns: NetnsId,
    /// When connection tracking was read.
    pub at: BootTime,
    /// The forwarded ports, with what is new since the last report. A port that is not listed had no connection that
    /// connection tracking remembers.
    pub ports: Vec<ForwardedPort>,
}

/// One port of [`ForwardedPorts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedPort {
    /// The port that callers dial.
    pub port: PortId,
    /// Address and port to which the rules lead.
    pub to: (IpAddr, u16),
    /// Callers, with their number of new connections.
    pub callers: Vec<(IpAddr, u64)>,
}

/// A netns as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsRef {
    /// Inode number; 0 where unknown.
    pub inode: u64,
    /// Last part of the netns's path; `None` where only processes hold it.
    pub name: Option<String>,
}

/// Rewrites `/var/run/…` to `/run/…`, because the first is a link to the second on the nodes that matter.
#[must_use]
pub fn canonical(path: &str) -> &str {
    if path.starts_with("/var/run/") { path.get(4..).unwrap_or(path) } else { path }
}
