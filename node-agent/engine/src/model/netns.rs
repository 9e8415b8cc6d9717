//! What is known about a network namespace besides its sockets, and how its paths are normalized.

use ipnet::IpNet;

use crate::model::identity::NetnsId;

/// What is known about a netns beside its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsFacts {
    pub netns: NetnsId,
    pub inode: u64,
    /// Where it is mounted, canonical (`/run/netns/NAME`); empty where only processes hold it.
    pub paths: Vec<String>,
    /// The host's own netns.
    pub is_host: bool,
    /// Addresses of its interfaces with their prefix, loopback included.
    pub addresses: Vec<IpNet>,
    /// net.ipv4.ip_local_port_range: first and last ephemeral port.
    pub ephemeral_ports: (u16, u16),
}

/// A netns, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsRef {
    pub inode: u64,
    /// Last part of its path; `None` where only processes hold it.
    pub name: Option<String>,
}

/// `/var/run` is `/run` on every node that matters.
#[must_use]
pub fn canonical(path: &str) -> &str {
    if path.starts_with("/var/run/") { path.get(4..).unwrap_or(path) } else { path }
}
