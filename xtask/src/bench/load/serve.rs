//! A server whose listeners come and go: answers each line of stdin, which opens or closes one TCP port.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};

/// Accepts and closes on the TCP ports and reads the UDP ports, until stdin closes.
///
/// # Errors
/// If a port cannot be opened, or a line cannot be parsed.
pub fn run(tcp: &[u16], udp: &[u16]) -> Result<()> {
    for port in tcp {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))?;
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }
    for port in udp {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port))?;
        std::thread::spawn(move || while socket.recv(&mut [0; 64]).is_ok() {});
    }
    super::say("ready")?;
    let mut opened = BTreeMap::new();
    for line in std::io::stdin().lines() {
        match parse(&line?)? {
            Request::Open(port) => {
                opened.insert(port, TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
            }
            Request::Close(port) => drop(opened.remove(&port)),
        }
        super::say("done")?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Open(u16),
    Close(u16),
}

/// Parses `open PORT` or `close PORT`.
fn parse(line: &str) -> Result<Request> {
    let (what, port) = line.split_once(' ').with_context(|| format!("no port in `{line}`"))?;
    let port = port.parse().with_context(|| format!("no port in `{line}`"))?;
    match what {
        "open" => Ok(Request::Open(port)),
        "close" => Ok(Request::Close(port)),
        _ => bail!("unknown request `{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_opens_or_closes_one_port() {
        assert_eq!(parse("open 20000").expect("a request"), Request::Open(20_000));
        assert_eq!(parse("close 20000").expect("a request"), Request::Close(20_000));
        assert!(parse("open").is_err() && parse("shut 1").is_err() && parse("open x").is_err());
    }
}
