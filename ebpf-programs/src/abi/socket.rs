//! Listening sockets: the value of the `LISTENERS` map, and the record of a listener that opened or closed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length of a task's `comm`, the trailing NUL included (TASK_COMM_LEN).
pub const COMM_LEN: usize = 16;

/// A listening socket: value of `LISTENERS` (key: the socket cookie, `u64`) and of `BINDS` (bound TCP sockets that do not listen
/// yet). 80 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerValue {
    /// Cookie of the socket's network namespace (`bpf_get_netns_cookie`, same number as SO_NETNS_COOKIE).
    pub netns_cookie: u64,
    /// Time at which the socket began to listen, CLOCK_BOOTTIME in ns.
    pub opened_boot_ns: u64,
    /// cgroup v2 id of the binding task; 0 where unknown (listen() without bind).
    pub cgroup_id: u64,
    /// Thread group id (pid in the initial pid namespace) of the binding task; 0 where unknown.
    pub tgid: u32,
    /// Uid of the binding task in the initial user namespace; `u32::MAX` where unknown.
    pub uid: u32,
    /// Local address in network order, IPv4 mapped; all zero is the wildcard of `family`
    /// (an IPv4 wildcard is `::ffff:0.0.0.0`).
    pub address: [u8; 16],
    /// Local port, host order.
    pub port: u16,
    /// AF_INET or AF_INET6, as the socket was created.
    pub family: u8,
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// Index of the interface to which the socket is bound (SO_BINDTODEVICE); 0 for none, or where unknown: for UDP only a scan
    /// tells.
    pub bound_interface: u32,
    /// Zero.
    pub reserved: [u8; 8],
    /// Name of the binding process, NUL-padded; empty where unknown, as for a thread that is not the main one. Controlled by the
    /// workload: never trust it, always escape it.
    pub comm: [u8; COMM_LEN],
}

/// [`ListenerRecord::kind`]: a socket began to listen.
pub const LISTENER_OPENED: u32 = 1;
/// [`ListenerRecord::kind`]: a socket no longer listens (close, exit, shutdown, disconnect).
pub const LISTENER_CLOSED: u32 = 2;

/// One record of the `LISTENER_EVENTS` ring. 104 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerRecord {
    /// [`LISTENER_OPENED`] or [`LISTENER_CLOSED`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The socket's cookie: the same number as sock_diag's idiag_cookie and SO_COOKIE.
    pub socket_cookie: u64,
    /// Time of the event, CLOCK_BOOTTIME in ns.
    pub at_boot_ns: u64,
    /// The socket, as it was when it began to listen.
    pub listener: ListenerValue,
}
