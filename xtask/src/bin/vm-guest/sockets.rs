//! Listeners in one pod and clients in the other: plain sockets of threads that enter the pod's namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, listen, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::{APP, CALLER};

/// Maximum time until a client gets an answer.
const PATIENCE: Duration = Duration::from_secs(20);
const HELLO: &[u8] = b"hello";
/// Length in bytes of an IPv4 packet of [`call_udp`].
pub const DATAGRAM: usize = 28 + HELLO.len();

/// Runs a closure in a new thread, in that namespace.
///
/// # Errors
/// The error of the closure, or if the namespace cannot be entered.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let enter = || {
        let file = File::open(format!("/run/netns/{netns}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join()).map_err(|_| anyhow!("a thread in {netns} panicked"))?
}

/// Starts a TCP server in the app, which answers each connection as long as the guest runs.
///
/// # Errors
/// If the port cannot be bound.
pub fn serve_tcp(port: u16) -> Result<()> {
    serve_tcp_on(Ipv4Addr::UNSPECIFIED.into(), port)
}

/// Like [`serve_tcp`], on one address.
///
/// # Errors
/// If the port cannot be bound.
pub fn serve_tcp_on(address: IpAddr, port: u16) -> Result<()> {
    let listener = inside(APP, || Ok(TcpListener::bind((address, port))?))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut word = [0; HELLO.len()];
            // A client that closes early notices itself.
            let _ = stream.read_exact(&mut word).and_then(|()| stream.write_all(&word));
        }
    });
    Ok(())
}

/// Makes a number of complete connections from the client, one after the other.
///
/// # Errors
/// If one of them gets no answer.
pub fn call_tcp(address: &str, port: u16, times: usize) -> Result<()> {
    let target = SocketAddr::new(address.parse()?, port);
    inside(CALLER, || {
        for _ in 0..times {
            let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(HELLO)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
        }
        Ok(())
    })
    .with_context(|| format!("call {target}"))
}

/// Starts a UDP server in the app, which answers each datagram.
///
/// # Errors
/// If the port cannot be bound.
pub fn serve_udp(port: u16) -> Result<()> {
    let server = inside(APP, || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?))?;
    thread::spawn(move || {
        let mut word = [0; 64];
        while let Ok((length, from)) = server.recv_from(&mut word) {
            // As for TCP.
            let _ = server.send_to(word.get(..length).unwrap_or_default(), from);
        }
    });
    Ok(())
}

/// Sends a number of datagrams from one socket of the client, each after the answer to the one before.
///
/// # Errors
/// If one of them gets no answer.
pub fn call_udp(address: &str, port: u16, times: usize) -> Result<()> {
    inside(CALLER, || {
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut word = [0; 64];
        for _ in 0..times {
            client.send_to(HELLO, (address, port))?;
            client.recv_from(&mut word)?;
        }
        Ok(())
    })
    .with_context(|| format!("call {address}:{port}"))
}

/// Opens an SCTP listener in the app.
///
/// # Errors
/// If the kernel has no SCTP.
pub fn listen_sctp(port: u16) -> Result<OwnedFd> {
    inside(APP, || {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::SCTP))?;
        bind(&listener, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        listen(&listener, 16)?;
        Ok(listener)
    })
}

/// Opens one SCTP association from the client, and closes it.
///
/// # Errors
/// If the association is refused.
pub fn call_sctp(address: &str, port: u16) -> Result<()> {
    let target: SocketAddr = format!("{address}:{port}").parse()?;
    inside(CALLER, || {
        let client = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::SCTP))?;
        connect(&client, &target)?;
        Ok(())
    })
}
