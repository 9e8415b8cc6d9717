//! Builds and sends what plain sockets cannot: whole packets with any source, and IPv6 packets with an extension
//! header.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};

use super::protocol::Payload;

/// First of the unused source addresses: 198.18.0.0/15 is reserved for benchmarks.
const SPOOFED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const SPOOFED_ADDRESSES: u32 = 1 << 17;

/// A socket that sends IPv4 packets unchanged.
pub struct RawSocket(OwnedFd);

impl RawSocket {
    pub fn open() -> Result<Self> {
        rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).map(Self)
    }

    pub fn send(&self, from: SocketAddr, to: SocketAddr, payload: Payload) -> Result<()> {
        let packet = packet(from, to, payload)?;
        rustix::net::sendto(&self.0, &packet, SendFlags::empty(), &SocketAddr::new(to.ip(), 0))?;
        Ok(())
    }

    /// Sends one packet from each of `times` addresses.
    pub fn flood(&self, to: SocketAddr, payload: Payload, times: u32) -> Result<()> {
        for number in 0..times {
            let address = Ipv4Addr::from_bits(SPOOFED.to_bits() + number % SPOOFED_ADDRESSES);
            let port = 1024 + u16::try_from(number % 60_000).expect("small");
            self.send(SocketAddr::new(address.into(), port), to, payload)?;
        }
        Ok(())
    }
}

/// Builds a packet from the network header on, with correct checksums.
pub fn packet(from: SocketAddr, to: SocketAddr, payload: Payload) -> Result<Vec<u8>> {
    let (protocol, mut segment, place) = match payload {
        Payload::Syn => (6, syn(from.port(), to.port()), 16),
        Payload::Datagram(length) => (17, datagram(from.port(), to.port(), length), 6),
    };
    let length = u16::try_from(segment.len()).expect("a small packet");
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => return Err(Errno::AFNOSUPPORT),
    };
    let mut summed = addresses.clone();
    summed.extend([0, protocol]);
    summed.extend(length.to_be_bytes());
    summed.extend(&segment);
    segment[place..place + 2].copy_from_slice(&checksum(&summed).to_be_bytes());
    let mut packet = Vec::new();
    if from.is_ipv4() {
        packet.extend([0x45, 0]);
        packet.extend((length + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        packet.extend(addresses);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend(addresses);
    }
    packet.extend(segment);
    Ok(packet)
}

fn syn(from: u16, to: u16) -> Vec<u8> {
    let mut tcp = [from.to_be_bytes(), to.to_be_bytes()].concat();
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    tcp
}

fn datagram(from: u16, to: u16, length: usize) -> Vec<u8> {
    let whole = u16::try_from(8 + length).expect("a small packet");
    let mut udp = [from.to_be_bytes(), to.to_be_bytes(), whole.to_be_bytes(), [0, 0]].concat();
    udp.resize(8 + length, b'x');
    udp
}

/// Computes the internet checksum of any number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Sets eight bytes of padding options in a destination options header, for every packet of this socket.
pub fn set_destination_options(socket: BorrowedFd<'_>) -> Result<()> {
    let header: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads `header.len()` bytes of `header`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_DSTOPTS,
            header.as_ptr().cast(),
            libc::socklen_t::try_from(header.len()).expect("eight"),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
