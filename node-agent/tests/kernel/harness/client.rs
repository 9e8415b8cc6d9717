//! Clients that count what they do: HTTP over TCP, and DNS over UDP and TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::network::inside;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Length of the header of a DNS message.
const DNS_HEADER: usize = 12;

/// Opens a TCP connection from a named netns.
pub fn connect(netns: &str, to: SocketAddr) -> TcpStream {
    inside(netns, || connect_here(to)).expect("connect")
}

fn connect_here(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The text of a GET after whose answer the server closes.
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: tier.example\r\nConnection: close\r\n\r\n")
}

/// Fetches a page `times` times from a named netns, with a connection each, and calls `each` with the number of the
/// pages so far. Every answer must be 200.
pub fn fetch(netns: &str, to: SocketAddr, times: u32, each: impl Fn(u32) + Sync) {
    inside(netns, || {
        for done in 1..=times {
            let mut stream = connect_here(to).expect("connect");
            stream.write_all(request("/").as_bytes()).expect("send a request");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("read the answer");
            let status = answer.split(|byte| *byte == b' ').nth(1);
            assert_eq!(status, Some(&b"200"[..]), "{}", String::from_utf8_lossy(&answer));
            each(done);
        }
    });
}

/// Asks for the addresses of `times` names that no cache has, from one UDP socket in a named netns. Returns the number
/// of bytes in IPv4 packets that were sent.
pub fn resolve(netns: &str, to: SocketAddr, times: u16) -> u64 {
    inside(netns, || {
        let socket = UdpSocket::bind((UNSPECIFIED, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut bytes = 0;
        for number in 1..=times {
            let query = query(number);
            socket.send_to(&query, to).expect("send a query");
            bytes += query.len() as u64 + 28;
            let mut answer = [0; 1500];
            let (length, from) = socket.recv_from(&mut answer).expect("an answer");
            assert_eq!(from, to);
            check(number, &answer[..length]);
        }
        bytes
    })
}

/// Asks for one name over TCP from a named netns.
pub fn resolve_over_tcp(netns: &str, to: SocketAddr, number: u16) {
    let mut stream = connect(netns, to);
    let query = query(number);
    let length = u16::try_from(query.len()).expect("short");
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).expect("send a query");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).expect("an answer");
    check(number, &answer);
}

/// A query for the IPv4 address of a name of its own. Every query has the same length.
fn query(number: u16) -> Vec<u8> {
    let mut query = number.to_be_bytes().to_vec();
    // One question, with the wish for recursion.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [&format!("name-{number:05}"), "tier", "example"] {
        query.push(u8::try_from(label.len()).expect("a short label"));
        query.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// Fails unless the answer has this number, no error and one record.
fn check(number: u16, answer: &[u8]) {
    assert!(answer.len() > DNS_HEADER, "{answer:?}");
    assert_eq!(answer[..2], number.to_be_bytes());
    let (error, records) = (answer[3] & 0xf, u16::from_be_bytes([answer[6], answer[7]]));
    assert_eq!((error, records), (0, 1), "{answer:?}");
}
