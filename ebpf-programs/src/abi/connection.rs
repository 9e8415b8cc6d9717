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

/// Value of `CONNECTIONS` (key: the socket cookie): a recorded connection that has not ended. 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenConnection {
    /// The dialled port.
    pub port: PortKey,
    /// As [`ConnectionRecord::accepted_port`].
    pub accepted_port: u16,
    /// [`PEER_FIN`] and [`OWN_FIN`], or 0.
    pub fins: u16,
    /// Sequence number behind the peer's FIN; only with [`PEER_FIN`].
    pub peer_fin_end: u32,
    /// Next sequence number to send before this side's FIN was sent; only with [`OWN_FIN`].
    pub own_fin_from: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`OpenConnection::fins`]: a FIN of the peer arrived after this side closed, perhaps before data that are missing.
pub const PEER_FIN: u16 = 1;
/// [`OpenConnection::fins`]: this side closed; its FIN waits behind data that are not sent yet, or follows at once.
pub const OWN_FIN: u16 = 2;

/// One record of the `CONNECTION_EVENTS` ring. 96 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionRecord {
    /// [`CONNECTION_OPENED`] or [`CONNECTION_CLOSED`].
    pub kind: u32,
    /// Peer port, host order.
    pub remote_port: u16,
    /// Port of the accepting socket, host order, if a rule redirected the connection there from `port`; else 0.
    pub accepted_port: u16,
    /// Cookie of the accepted socket.
    pub socket_cookie: u64,
    /// Time of the event, CLOCK_BOOTTIME in ns.
    pub at_boot_ns: u64,
    /// Bytes received by the pod (closed only).
    pub bytes_in: u64,
    /// Bytes sent by the pod and acknowledged (closed only).
    pub bytes_out: u64,
    /// The dialled port: the listening port, unless the connection was redirected.
    pub port: PortKey,
    /// Local address, network order, IPv4 mapped.
    pub local_address: [u8; 16],
    /// Peer address, network order, IPv4 mapped.
    pub remote_address: [u8; 16],
    /// Zero.
    pub reserved_end: u64,
}
