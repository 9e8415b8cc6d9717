//! What is known about a network namespace besides its sockets, and how its paths are normalized.

use ipnet::IpNet;

use crate::model::identity::NetnsId;

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
    /// First and last ephemeral port (`net.ipv4.ip_local_port_range`).
    pub ephemeral_ports: (u16, u16),
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
