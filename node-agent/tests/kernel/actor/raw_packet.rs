//! What plain sockets cannot send: a lone SYN with any source, and IPv6 packets with an extension header.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};

const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;

/// Send one IPv4 SYN.
pub fn send_syn(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { return Err(Errno::AFNOSUPPORT) };
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
    rustix::net::sendto(&socket, &syn(from, to), SendFlags::empty(), &SocketAddr::from((*to.ip(), 0)))?;
    Ok(())
}

/// The kernel fills the IPv4 header's length and checksum of a packet sent over IPPROTO_RAW.
fn syn(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut packet = vec![0u8; IPV4_HEADER];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = 6;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let mut tcp = Vec::with_capacity(TCP_HEADER);
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = tcp_checksum(*from.ip(), *to.ip(), &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet.extend(tcp);
    packet
}

fn tcp_checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let mut pseudo = Vec::new();
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 6]);
    pseudo.extend(u16::try_from(segment.len()).expect("a header").to_be_bytes());
    pseudo.extend(segment);
    let mut sum: u32 =
        pseudo.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Eight bytes of padding options in a destination options header, on every packet of this socket.
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
