//! The load generators, each run inside a namespace as `xtask load …`. They use standard sockets, print a line when ready, and end
//! when stdin closes.

mod call;
mod serve;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::stopwatch::Stopwatch;

/// Bytes of one write of the bulk transfer.
const BLOCK: usize = 256 * 1024;
/// The first port of a pod's listeners.
pub const FIRST_PORT: u16 = 20_000;

#[derive(Subcommand)]
pub enum Load {
    /// Hold listeners; at the first byte on stdin, let each UDP port see some peers
    Pod {
        #[arg(long)]
        tcp: u16,
        #[arg(long, default_value_t = 0)]
        udp: u16,
        #[arg(long, default_value_t = 0)]
        peers: u16,
    },
    /// Accept and close at once
    Accept { port: u16 },
    /// Connect, wait for the close, close; prints connections per second
    Connect {
        to: SocketAddr,
        #[arg(long)]
        milliseconds: u64,
        /// Connections per second at most
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Read whatever one client after the other sends
    Sink { port: u16 },
    /// Send as fast as it goes; prints bytes per second
    Send {
        to: SocketAddr,
        #[arg(long)]
        milliseconds: u64,
    },
    /// Serve ports; open and close more of them as lines on stdin say
    Serve {
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<u16>,
        #[arg(long, value_delimiter = ',')]
        udp: Vec<u16>,
    },
    /// Make the calls that lines on stdin ask for; prints how many of each there were
    Call {
        /// First source address of datagrams
        #[arg(long)]
        sources: Ipv4Addr,
    },
}

/// # Errors
/// If a socket operation fails.
pub fn run(load: &Load) -> Result<()> {
    match *load {
        Load::Serve { ref tcp, ref udp } => serve::run(tcp, udp),
        Load::Call { sources } => call::run(sources),
        Load::Pod { tcp, udp, peers } => pod(tcp, udp, peers),
        Load::Accept { port } => accept(port),
        Load::Connect { to, milliseconds, rate } => connect(to, Duration::from_millis(milliseconds), rate),
        Load::Sink { port } => sink(port),
        Load::Send { to, milliseconds } => send(to, Duration::from_millis(milliseconds)),
    }
}

fn pod(tcp: u16, udp: u16, peers: u16) -> Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    let _listeners =
        (0..tcp).map(|n| TcpListener::bind((any, FIRST_PORT + n))).collect::<std::io::Result<Vec<_>>>()?;
    let _sockets =
        (0..udp).map(|n| UdpSocket::bind((any, FIRST_PORT + n))).collect::<std::io::Result<Vec<_>>>()?;
    say("ready")?;
    if std::io::stdin().read(&mut [0])? == 0 {
        return Ok(());
    }
    for peer in 1..=peers {
        let [high, low] = peer.to_be_bytes();
        // Every address in 127/8 is local without configuration.
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 99, high, low), 0))?;
        for n in 0..udp {
            socket.send_to(b"hello", (Ipv4Addr::LOCALHOST, FIRST_PORT + n))?;
        }
    }
    say("sent")?;
    wait_for_end()
}

fn accept(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
    say("ready")?;
    wait_for_end()
}

fn connect(to: SocketAddr, length: Duration, rate: Option<u32>) -> Result<()> {
    let since = Stopwatch::start();
    let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
    let mut count: u32 = 0;
    while since.elapsed() < length {
        let wanted = gap * count;
        if let Some(early) = wanted.checked_sub(since.elapsed()) {
            std::thread::sleep(early);
        }
        let mut stream = TcpStream::connect(to)?;
        // The server closes first. A reset leaves no port in TIME_WAIT; there would be too few ports.
        let _ = stream.read(&mut [0])?;
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        count += 1;
    }
    say(&format!("{:.1}", f64::from(count) / since.elapsed().as_secs_f64()))
}

fn sink(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    std::thread::spawn(move || {
        let mut block = vec![0; BLOCK];
        for mut connection in listener.incoming().map_while(Result::ok) {
            while connection.read(&mut block).is_ok_and(|read| read > 0) {}
        }
    });
    say("ready")?;
    wait_for_end()
}

fn send(to: SocketAddr, length: Duration) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let block = vec![0; BLOCK];
    let since = Stopwatch::start();
    let mut blocks: u32 = 0;
    while since.elapsed() < length {
        stream.write_all(&block)?;
        blocks += 1;
    }
    say(&format!("{:.0}", f64::from(blocks) * 262_144.0 / since.elapsed().as_secs_f64()))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn wait_for_end() -> Result<()> {
    while std::io::stdin().read(&mut [0])? > 0 {}
    Ok(())
}
