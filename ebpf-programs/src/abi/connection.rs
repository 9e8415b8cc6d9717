//! Records of single connections, for ports with recording enabled.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::traffic::PortKey;

/// [`ConnectionRecord::kind`]: a handshake completed.
pub const CONNECTION_OPENED: u32 = 1;
/// [`ConnectionRecord::kind`]: the connection ended; the byte counts are final.
pub const CONNECTION_CLOSED: u32 = 2;

/// Value of `RECORDED` (key: the port): budget of connection records per second, and use of the current second. 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordBudget {
    /// Start of the current second, CLOCK_BOOTTIME in ns.
    pub second_boot_ns: u64,
    /// Connections in the current second, recorded or not.
    pub connections: u64,
    /// Maximum number of records per second; set by the agent.
    pub most: u64,
}

/// One record of the `CONNECTION_EVENTS` ring. 96 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionRecord {
    /// [`CONNECTION_OPENED`] or [`CONNECTION_CLOSED`].
    pub kind: u32,
    /// Peer port, host order.
    pub remote_port: u16,
    /// Zero.
    pub reserved: u16,
    /// Cookie of the accepted socket.
    pub socket_cookie: u64,
    /// Time of the event, CLOCK_BOOTTIME in ns.
    pub at_boot_ns: u64,
    /// Bytes received by the pod (closed only).
    pub bytes_in: u64,
    /// Bytes sent by the pod and acknowledged (closed only).
    pub bytes_out: u64,
    /// The listening port.
    pub port: PortKey,
    /// Local address, network order, IPv4 mapped.
    pub local_address: [u8; 16],
    /// Peer address, network order, IPv4 mapped.
    pub remote_address: [u8; 16],
    /// Zero.
    pub reserved_end: u64,
}
