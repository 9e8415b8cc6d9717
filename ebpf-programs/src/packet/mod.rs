//! Finds a packet's transport ports from its network header on. Pure: the bytes come through [`Packet`], so that the
//! same code runs over a socket buffer in the kernel and over a slice in tests.

use crate::abi::{IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};

/// EtherType of IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag.
pub const ETH_P_8021Q: u16 = 0x8100;
/// EtherType of an outer (provider) VLAN tag.
pub const ETH_P_8021AD: u16 = 0x88a8;

/// How many IPv6 extension headers are walked; a packet with more is not counted.
pub const EXTENSION_HEADERS: u32 = 6;

const VLAN_ID: u16 = 0x0fff;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

/// Bytes from the network header on.
pub trait Packet {
    /// The `N` bytes at `offset` from the network header; `None` where the packet is shorter.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

/// What the counters need of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Source address, network order, IPv4 mapped.
    pub source: [u8; 16],
    /// Bytes from the network header on, as the IP header says; 0 in a jumbogram (BIG TCP).
    pub ip_length: u32,
    /// Where the transport header begins.
    pub transport: u32,
}

/// Parses what stands at the network header. `None`: no transport port (other protocol, later fragment, truncated), or
/// tagged for a VLAN device, which sees the packet again itself.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, ether_type: u16) -> Option<Segment> {
    match ether_type {
        ETH_P_IP => parse_v4(packet, 0),
        ETH_P_IPV6 => parse_v6(packet, 0),
        ETH_P_8021Q | ETH_P_8021AD => parse_tagged(packet),
        _ => None,
    }
}

/// A tag that is still in the packet: only the priority tag (VLAN 0) belongs to the device itself.
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
    // Header and ports of a packet without options in one load: the shortest datagram has 28 bytes.
    let [vi, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, _, _, _, _, _, _, p0, p1] =
        packet.load::<24>(start)?;
    let header = u32::from(vi & 0x0f) * 4;
    if vi >> 4 != 4 || header < IPV4_HEADER || !has_ports(protocol) {
        return None;
    }
    if u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    let port = if header == IPV4_HEADER { [p0, p1] } else { packet.load::<2>(start + header + 2)? };
    Some(Segment {
        protocol,
        destination_port: u16::from_be_bytes(port),
        source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, s0, s1, s2, s3],
        ip_length: u32::from(u16::from_be_bytes([l0, l1])),
        transport: start + header,
    })
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P, start: u32) -> Option<Segment> {
    let [v, _, _, _, l0, l1, next, _] = packet.load::<8>(start)?;
    if v >> 4 != 6 {
        return None;
    }
    let (protocol, transport) =
        if has_ports(next) { (next, start + IPV6_HEADER) } else { skip_extensions(packet, next, start)? };
    let source = packet.load::<16>(start + 8)?;
    let port = packet.load::<2>(transport + 2)?;
    let payload = u32::from(u16::from_be_bytes([l0, l1]));
    Some(Segment {
        protocol,
        destination_port: u16::from_be_bytes(port),
        source,
        ip_length: if payload == 0 { 0 } else { payload + IPV6_HEADER },
        transport,
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
            // Hop-by-hop, routing, destination, mobility: length in units of 8 bytes, the first not counted.
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

/// Bytes of all segments from the network header on. A GSO buffer holds its headers once; on the wire each segment had
/// its own.
#[must_use]
pub const fn wire_bytes(ip_length: u32, headers: u32, segments: u32) -> u64 {
    ip_length as u64 + headers as u64 * (segments as u64).saturating_sub(1)
}

#[cfg(test)]
mod tests;
