//! The protocol between case and actor: one JSON request per line on stdin, one JSON reply per line on stdout.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Name of an actor's socket, chosen by the case.
pub type SocketName = u32;

/// Kind of socket to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Mptcp,
    Udp,
}

/// Options that are set on a socket before it is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOptions {
    pub reuse_port: bool,
    pub v6_only: bool,
    /// Splits what is sent at once into datagrams of this many bytes (UDP_SEGMENT); 0: does not.
    pub segment: u16,
    /// Receives several datagrams at once (UDP_GRO).
    pub receive_merged: bool,
    /// May send to broadcast addresses.
    pub broadcast: bool,
    /// Puts a destination options header of eight bytes into each IPv6 packet.
    pub destination_options: bool,
    /// Ties the socket to the interface eth0 (`SO_BINDTODEVICE`).
    pub eth0_only: bool,
    /// Ties the socket to the interface lo.
    pub loopback_only: bool,
}

/// A request to an actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    Open {
        socket: SocketName,
        transport: Transport,
        v6: bool,
        options: SocketOptions,
    },
    Bind {
        socket: SocketName,
        address: SocketAddr,
    },
    Listen {
        socket: SocketName,
        backlog: i32,
    },
    /// Binds and listens through io_uring.
    RingListen {
        socket: SocketName,
        address: SocketAddr,
    },
    Local {
        socket: SocketName,
    },
    Connect {
        socket: SocketName,
        to: SocketAddr,
    },
    /// Starts a connect and does not wait for it.
    StartConnect {
        socket: SocketName,
        to: SocketAddr,
    },
    /// Undoes a connect or a listen: connect(AF_UNSPEC).
    Disconnect {
        socket: SocketName,
    },
    Accept {
        socket: SocketName,
        accepted: SocketName,
    },
    /// Accepts connections, reads them to the end and closes them, on a thread of its own, until the listener ends.
    Serve {
        socket: SocketName,
    },
    /// Connects and closes `times` times and sends `length` bytes on each connection. Replies how many completed.
    ConnectMany {
        to: SocketAddr,
        times: u32,
        length: usize,
    },
    /// Writes `length` bytes to a connected socket.
    Write {
        socket: SocketName,
        length: usize,
    },
    /// Reads until `length` bytes came.
    Read {
        socket: SocketName,
        length: usize,
    },
    /// Sends `times` datagrams of `length` bytes.
    SendTo {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// Sends `times` datagrams with one sendmmsg.
    SendMany {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// Sends `times` datagrams with a sendmsg each.
    SendMessages {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// Receives `times` datagrams.
    Receive {
        socket: SocketName,
        times: u32,
    },
    /// Receives `times` datagrams with a recvmsg each.
    ReceiveMessages {
        socket: SocketName,
        times: u32,
    },
    /// Receives `times` datagrams with recvmmsg.
    ReceiveMany {
        socket: SocketName,
        times: u32,
    },
    Shutdown {
        socket: SocketName,
    },
    /// Closes the sending side.
    ShutdownWrite {
        socket: SocketName,
    },
    /// Waits until everything that was written is acknowledged.
    AwaitSent {
        socket: SocketName,
    },
    /// Closes with a reset.
    Reset {
        socket: SocketName,
    },
    /// Binds and listens on a thread of this name, which ends afterwards.
    ListenOnThread {
        socket: SocketName,
        address: SocketAddr,
        thread: String,
    },
    /// Receives until `length` bytes came, in datagrams of any size.
    ReceiveBytes {
        socket: SocketName,
        length: usize,
    },
    Close {
        socket: SocketName,
    },
    CloseAll,
    /// Opens, binds, listens, waits for this long and closes, all in the actor, so that no pipe adds delay.
    ListenBriefly {
        address: SocketAddr,
        milliseconds: u64,
    },
    /// Listens on every port of a range. Replies on how many it listens.
    ListenRange {
        address: SocketAddr,
        last_port: u16,
    },
    /// Opens and closes a listener `times` times.
    ListenOften {
        address: SocketAddr,
        times: u32,
    },
    /// Starts a child process that inherits every socket. Replies its pid.
    Inherit,
    /// Waits on a unix socket for one descriptor (SCM_RIGHTS) and keeps it.
    Take {
        path: PathBuf,
        socket: SocketName,
    },
    /// Passes a descriptor over a unix socket.
    Give {
        path: PathBuf,
        socket: SocketName,
    },
    EnterNetns {
        name: String,
    },
    /// Moves to a new netns that only this process holds. Replies its inode.
    NestNetns,
    /// Sends a raw packet with any source address; loopback and routes are the kernel's.
    SendRaw {
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
    },
    /// Sends `times` raw packets, each from another unused address.
    Flood {
        to: SocketAddr,
        payload: Payload,
        times: u32,
    },
    /// Sends one datagram to every port of an address.
    Spray {
        to: IpAddr,
    },
    /// Creates a tun device in the netns that the actor is in.
    OpenTun {
        name: String,
    },
    /// Lets `times` packets arrive over the tun device.
    FromTun {
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
        times: u32,
    },
}

/// Payload of a raw packet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Payload {
    Syn,
    /// A UDP datagram of this many bytes.
    Datagram(usize),
}

/// Reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Number(u64),
    Address(SocketAddr),
    /// The errno of a failed system call.
    Refused(i32),
}
