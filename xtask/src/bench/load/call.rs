//! A caller that counts what it really did: each line of stdin asks for connections or datagrams, and is answered by their number
//! for each target.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::stopwatch::Stopwatch;

/// Number of source addresses of datagrams. Each datagram takes the next one.
const SOURCES: u32 = 1 << 15;

/// Time after which the rest of late connections is left out. Whoever asked for them waits.
const LATE: Duration = Duration::from_secs(5);

/// Makes the calls until stdin closes. The addresses from `sources` on must be local.
///
/// # Errors
/// If a line cannot be parsed, or a source address cannot be used.
pub fn run(sources: Ipv4Addr) -> Result<()> {
    super::say("ready")?;
    let mut next = 0;
    for line in std::io::stdin().lines() {
        let counts = match parse(&line?)? {
            Request::Tcp { rate, rounds, targets } => connect(rate, rounds, &targets),
            Request::Udp { rounds, targets } => send(sources, &mut next, rounds, &targets)?,
        };
        let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
        super::say(&counts.join(" "))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// `tcp RATE ROUNDS TARGET…`: in each round one connection to each target, at most RATE per second in all.
    Tcp { rate: u32, rounds: u32, targets: Vec<SocketAddrV4> },
    /// `udp ROUNDS TARGET…`: in each round one datagram to each target, each from the next source address.
    Udp { rounds: u32, targets: Vec<SocketAddrV4> },
}

fn parse(line: &str) -> Result<Request> {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let mut number = || -> Result<u32> {
        words.next().and_then(|word| word.parse().ok()).with_context(|| format!("no number in `{line}`"))
    };
    let rate = if kind == "tcp" { number()? } else { 0 };
    let rounds = number()?;
    let targets = words.map(|word| word.parse().with_context(|| format!("no address in `{line}`")));
    let targets = targets.collect::<Result<Vec<_>>>()?;
    match kind {
        "tcp" => Ok(Request::Tcp { rate, rounds, targets }),
        "udp" => Ok(Request::Udp { rounds, targets }),
        _ => bail!("unknown request `{line}`"),
    }
}

/// Returns the number of connections to each target. Only those that were made count; if they are late, the rest is left out.
fn connect(rate: u32, rounds: u32, targets: &[SocketAddrV4]) -> Vec<u32> {
    let gap = Duration::from_secs(1) / rate.max(1);
    let since = Stopwatch::start();
    let mut counts = vec![0; targets.len()];
    let mut number = 0;
    for _ in 0..rounds {
        for (target, count) in targets.iter().zip(&mut counts) {
            if let Some(early) = (gap * number).checked_sub(since.elapsed()) {
                std::thread::sleep(early);
            }
            if since.elapsed() > gap * number + LATE {
                return counts;
            }
            number += 1;
            let Ok(mut stream) = TcpStream::connect(target) else { continue };
            *count += 1;
            // The server closes first. A reset leaves no port in TIME_WAIT; there would be too few ports.
            let _ = stream.read(&mut [0]);
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        }
    }
    counts
}

fn send(sources: Ipv4Addr, next: &mut u32, rounds: u32, targets: &[SocketAddrV4]) -> Result<Vec<u32>> {
    let mut counts = vec![0; targets.len()];
    for _ in 0..rounds {
        for (target, count) in targets.iter().zip(&mut counts) {
            let source = Ipv4Addr::from_bits(sources.to_bits() + *next % SOURCES);
            *next = next.wrapping_add(1);
            let socket =
                UdpSocket::bind((source, 0)).with_context(|| format!("cannot send from {source}"))?;
            *count += u32::from(socket.send_to(b"hello", target).is_ok());
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_numbers_and_targets() {
        let targets =
            vec!["10.0.0.1:80".parse().expect("an address"), "10.0.0.2:81".parse().expect("an address")];
        assert_eq!(
            parse("tcp 200 5 10.0.0.1:80 10.0.0.2:81").expect("a request"),
            Request::Tcp { rate: 200, rounds: 5, targets: targets.clone() }
        );
        assert_eq!(
            parse("udp 5 10.0.0.1:80 10.0.0.2:81").expect("a request"),
            Request::Udp { rounds: 5, targets }
        );
        assert!(parse("tcp 1 x").is_err() && parse("sctp 1 1").is_err() && parse("udp 1 x").is_err());
    }
}
