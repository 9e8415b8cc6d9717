//! Counters that the kernel keeps and the agent drains: per listening port, and per peer of a listening port.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `PORT_STATS` and of `RECORDED`. 16 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PortKey {
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// Local port, host order.
    pub port: u16,
    /// IPPROTO_*.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Value of `PORT_STATS` (per-CPU: sum over the CPUs). Entries exist only for ports that really listen: the hooks create
/// them when a listener opens or a handshake completes, the agent for listeners that a scan found. The agent deletes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortCounters {
    /// Inbound SYNs (TCP), or datagrams that reached an unconnected UDP socket (sk_lookup).
    pub attempts: u64,
    /// Handshakes that completed on a listener (TCP).
    pub connections: u64,
    /// Packets that arrived at the pod's interfaces for this port (tc ingress; GSO segments counted one by one).
    pub packets: u64,
    /// Bytes of these packets from the network header on.
    pub bytes: u64,
    /// Peers that were new to `PEERS`: more than the agent still finds there means that the LRU forgot some.
    pub peers_created: u64,
}

/// Key of `PEERS`, an LRU hash. 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PeerKey {
    /// The listening port.
    pub port: PortKey,
    /// Address of the peer, network order, IPv4 mapped.
    pub address: [u8; 16],
}

/// Value of `PEERS`: shared between CPUs, changed by atomic adds only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeerCounters {
    /// When the entry was made, CLOCK_BOOTTIME in ns. An entry that comes back with another time was forgotten between.
    pub first_boot_ns: u64,
    /// Datagrams that reached an unconnected UDP socket (sk_lookup); 0 for TCP.
    pub attempts: u64,
    /// Handshakes that completed (TCP).
    pub connections: u64,
    /// Packets at the pod's interfaces (tc ingress).
    pub packets: u64,
    /// Bytes of these packets from the network header on.
    pub bytes: u64,
}
