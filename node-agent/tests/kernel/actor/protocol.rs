//! What a case tells an actor to do: one JSON request per line on its stdin, one JSON reply per line on its stdout.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An actor's name for one of its sockets, chosen by the case.
pub type SocketName = u32;

/// Which socket to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Mptcp,
    Udp,
}

/// What is set on a socket before it is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOptions {
    pub reuse_port: bool,
    pub v6_only: bool,
    /// Put a destination options header of eight bytes into each IPv6 packet.
    pub destination_options: bool,
}

/// One order.
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
    /// Bind and listen through io_uring.
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
    /// Start a connect and do not wait for it.
    StartConnect {
        socket: SocketName,
        to: SocketAddr,
    },
    /// Undo a connect or a listen: connect(AF_UNSPEC).
    Disconnect {
        socket: SocketName,
    },
    Accept {
        socket: SocketName,
        accepted: SocketName,
    },
    /// Accept, read to the end and close, on a thread of its own, until the listener ends.
    Serve {
        socket: SocketName,
    },
    /// Connect and close `times` times, `length` bytes sent on each; answers how many completed.
    ConnectMany {
        to: SocketAddr,
        times: u32,
        length: usize,
    },
    /// Write `length` bytes to a connected socket.
    Write {
        socket: SocketName,
        length: usize,
    },
    /// Read until `length` bytes came.
    Read {
        socket: SocketName,
        length: usize,
    },
    /// One datagram of `length` bytes, `times` times.
    SendTo {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// `times` datagrams with one sendmmsg.
    SendMany {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// `times` datagrams, a sendmsg each.
    SendMessages {
        socket: SocketName,
        to: SocketAddr,
        length: usize,
        times: u32,
    },
    /// Receive `times` datagrams.
    Receive {
        socket: SocketName,
        times: u32,
    },
    /// The same with recvmsg.
    ReceiveMessages {
        socket: SocketName,
        times: u32,
    },
    /// The same with recvmmsg.
    ReceiveMany {
        socket: SocketName,
        times: u32,
    },
    Shutdown {
        socket: SocketName,
    },
    Close {
        socket: SocketName,
    },
    CloseAll,
    /// Open, bind, listen, hold for this long, close: all in the actor, so that no pipe stands between.
    ListenBriefly {
        address: SocketAddr,
        milliseconds: u64,
    },
    /// Listen on every port of a range; answers how many did.
    ListenRange {
        address: SocketAddr,
        last_port: u16,
    },
    /// Open and close a listener `times` times.
    ListenOften {
        address: SocketAddr,
        times: u32,
    },
    /// Start a child process that inherits every socket; answers its pid.
    Inherit,
    /// Wait at a unix socket for one descriptor (SCM_RIGHTS) and keep it.
    Take {
        path: PathBuf,
        socket: SocketName,
    },
    /// Hand a descriptor over.
    Give {
        path: PathBuf,
        socket: SocketName,
    },
    EnterNetns {
        name: String,
    },
    /// Move to a new netns that only this process holds; answers its inode.
    NestNetns,
    /// A packet with any source, written by hand; loopback and routes as the kernel has them.
    SendRaw {
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
    },
    /// `times` such packets, each from another address that nobody has.
    Flood {
        to: SocketAddr,
        payload: Payload,
        times: u32,
    },
    /// One datagram to every port of an address.
    Spray {
        to: IpAddr,
    },
    /// Make a tun device in the netns the actor is in.
    OpenTun {
        name: String,
    },
    /// Let `times` packets arrive over the tun device.
    FromTun {
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
        times: u32,
    },
}

/// What a packet that is written by hand carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Payload {
    Syn,
    /// Of so many bytes.
    Datagram(usize),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Number(u64),
    Address(SocketAddr),
    /// errno.
    Refused(i32),
}
