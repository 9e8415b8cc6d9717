//! Parses packets from the network header to the transport ports. Pure: bytes are read through [`Packet`], so that the same
//! code runs over a socket buffer in the kernel and over a slice in tests.

use crate::abi::{IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};

/// EtherType of IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag.
pub const ETH_P_8021Q: u16 = 0x8100;
/// EtherType of an outer (provider) VLAN tag.
pub const ETH_P_8021AD: u16 = 0x88a8;

/// Maximum number of IPv6 extension headers that are walked. A packet with more is not counted.
pub const EXTENSION_HEADERS: u32 = 6;

const VLAN_ID: u16 = 0x0fff;
/// Length of an Ethernet header in bytes.
pub const ETHERNET_HEADER: u32 = 14;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

/// A packet that is read from its network header on.
pub trait Packet {
    /// True if only offsets that are constant at compile time can be loaded. [`parse`] then returns `None` if an option or an
    /// extension header moves the transport header.
    const FIXED_OFFSETS: bool = false;

    /// Loads the `N` bytes at `offset` from the network header. `None`: the packet is shorter.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

/// The parts of a packet that the counters need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Source address, IPv4 mapped: two words in network order in memory.
    pub source: [u64; 2],
    /// Bytes from the network header on, according to the IP header; 0 in a jumbogram (BIG TCP).
    pub ip_length: u32,
    /// Offset of the transport header from the network header.
    pub transport: u32,
    /// Offset of the IP header from the network header: 4 behind a VLAN tag, else 0.
    pub ip: u32,
    /// Flags of the TCP header ([`TCP_SYN`] and others); 0 for other protocols.
    pub tcp_flags: u8,
}

/// TCP flag: synchronise.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag: acknowledge.
pub const TCP_ACK: u8 = 0x10;
/// TCP flag: finish.
pub const TCP_FIN: u8 = 0x01;
/// Offset of the flags in a TCP header.
const TCP_FLAGS: u32 = 13;

impl Segment {
    /// Returns true if this is the first packet of a TCP connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    }
}

/// Loads the flags of a TCP header. `None`: the packet is shorter.
#[inline(always)]
fn tcp_flags<P: Packet>(packet: &P, protocol: u8, transport: u32) -> Option<u8> {
    if protocol != IPPROTO_TCP {
        return Some(0);
    }
    let [flags] = packet.load::<1>(transport + TCP_FLAGS)?;
    Some(flags)
}

/// Returns true if a frame of `length` bytes, whose packet is of `ether_type`, certainly begins with an Ethernet header.
///
/// Devices without such a header (tun, wireguard, netkit in L3 mode) hand over the bare packet. In a bare packet a source
/// address of 8.0.0.0/16 is at the offset of the EtherType. A frame that could also be read as a bare packet is therefore not
/// certain, even if that reading needs a MAC address that looks like an IP header.
#[inline(always)]
pub fn begins_with_ethernet<P: Packet>(frame: &P, length: u32, ether_type: u16) -> bool {
    let Some([b, _, b2, b3, b4, b5, _, _, _, _, _, _, t0, t1, n, _, n2, n3, n4, n5]) = frame.load::<20>(0)
    else {
        return false;
    };
    if u16::from_be_bytes([t0, t1]) != ether_type {
        return false;
    }
    let (bare, behind) = match ether_type {
        ETH_P_IP => (total_length_v4(b, [b2, b3]), total_length_v4(n, [n2, n3])),
        ETH_P_IPV6 => (total_length_v6(b, [b4, b5]), total_length_v6(n, [n4, n5])),
        _ => return false,
    };
    bare.is_none_or(|total| total > length) && behind.is_some_and(|total| total + ETHERNET_HEADER <= length)
}

/// Returns the total length of an IPv4 packet from its first byte and its length field. `None`: not IPv4.
#[inline(always)]
fn total_length_v4(first: u8, length: [u8; 2]) -> Option<u32> {
    (first >> 4 == 4 && first & 0x0f >= 5).then(|| u32::from(u16::from_be_bytes(length)))
}

/// Returns the total length of an IPv6 packet from its first byte and its payload length field. `None`: not IPv6.
#[inline(always)]
fn total_length_v6(first: u8, length: [u8; 2]) -> Option<u32> {
    (first >> 4 == 6).then(|| u32::from(u16::from_be_bytes(length)) + IPV6_HEADER)
}

/// Parses a packet from its network header on. `None`: the packet has no transport port (other protocol, later fragment,
/// truncated), or is tagged for a VLAN device, which receives the packet again.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, ether_type: u16) -> Option<Segment> {
    match ether_type {
        ETH_P_IP => parse_v4(packet, 0),
        ETH_P_IPV6 => parse_v6(packet, 0),
        ETH_P_8021Q | ETH_P_8021AD => parse_tagged(packet),
        _ => None,
    }
}

/// Parses a packet that still contains a VLAN tag. Only a packet with the priority tag (VLAN 0) is for the device itself.
#[inline(always)]
fn parse_tagged<P: Packet>(packet: &P) -> Option<Segment> {
    let [t0, t1, e0, e1] = packet.load::<4>(0)?;
    if u16::from_be_bytes([t0, t1]) & VLAN_ID != 0 {
        return None;
    }
    match u16::from_be_bytes([e0, e1]) {
        ETH_P_IP => parse_v4(packet, 4),
        ETH_P_IPV6 => parse_v6(packet, 4),
        _ => None,
    }
}

#[inline(always)]
fn parse_v4<P: Packet>(packet: &P, start: u32) -> Option<Segment> {
    // Loads header and ports of a packet without options at once: the shortest datagram has 28 bytes.
    let [vi, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, _, _, _, _, _, _, p0, p1] =
        packet.load::<24>(start)?;
    let header = u32::from(vi & 0x0f) * 4;
    if vi >> 4 != 4 || header < IPV4_HEADER || !has_ports(protocol) {
        return None;
    }
    if u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    if P::FIXED_OFFSETS && header != IPV4_HEADER {
        return None;
    }
    let port = if header == IPV4_HEADER { [p0, p1] } else { packet.load::<2>(start + header + 2)? };
    let tcp_flags = tcp_flags(packet, protocol, start + header)?;
    Some(Segment {
        protocol,
        destination_port: u16::from_be_bytes(port),
        source: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, s0, s1, s2, s3])],
        ip_length: u32::from(u16::from_be_bytes([l0, l1])),
        transport: start + header,
        ip: start,
        tcp_flags,
    })
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P, start: u32) -> Option<Segment> {
    let [v, _, _, _, l0, l1, next, _] = packet.load::<8>(start)?;
    if v >> 4 != 6 {
        return None;
    }
    if P::FIXED_OFFSETS && !has_ports(next) {
        return None;
    }
    let (protocol, transport) =
        if has_ports(next) { (next, start + IPV6_HEADER) } else { skip_extensions(packet, next, start)? };
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = packet.load::<16>(start + 8)?;
    let source = [[a0, a1, a2, a3, b0, b1, b2, b3], [c0, c1, c2, c3, d0, d1, d2, d3]].map(u64::from_ne_bytes);
    let port = packet.load::<2>(transport + 2)?;
    let tcp_flags = tcp_flags(packet, protocol, transport)?;
    let payload = u32::from(u16::from_be_bytes([l0, l1]));
    Some(Segment {
        protocol,
        destination_port: u16::from_be_bytes(port),
        source,
        ip_length: if payload == 0 { 0 } else { payload + IPV6_HEADER },
        transport,
        ip: start,
        tcp_flags,
    })
}

/// Walks the extension headers to the transport header (RFC 8200, section 4).
#[inline(always)]
fn skip_extensions<P: Packet>(packet: &P, first: u8, start: u32) -> Option<(u8, u32)> {
    let mut next = first;
    let mut offset = start + IPV6_HEADER;
    for _ in 0..EXTENSION_HEADERS {
        let [following, length, f0, f1] = packet.load::<4>(offset)?;
        let step = match next {
            // Hop-by-hop, routing, destination, mobility: length in units of 8 bytes, without the first 8.
            0 | 43 | 60 | 135 => (u32::from(length) + 1) * 8,
            // Authentication: in units of 4 bytes, minus 2.
            51 => (u32::from(length) + 2) * 4,
            // Fragment: only the first one carries the transport header.
            44 if u16::from_be_bytes([f0, f1]) & 0xfff8 == 0 => 8,
            _ => return None,
        };
        next = following;
        offset += step;
        if has_ports(next) {
            return Some((next, offset));
        }
    }
    None
}

const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP)
}

/// Returns the bytes of all segments from the network header on. A GSO buffer holds the headers once; on the wire each segment
/// had its own.
#[must_use]
pub const fn wire_bytes(ip_length: u32, headers: u32, segments: u32) -> u64 {
    ip_length as u64 + headers as u64 * (segments as u64).saturating_sub(1)
}

#[cfg(test)]
mod tests;
