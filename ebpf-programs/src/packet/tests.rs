//! Tests the parser with hand-built packets and every truncation of each.

use super::{
    ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, EXTENSION_HEADERS, Packet, Segment, begins_with_ethernet, parse,
    wire_bytes,
};

struct Bytes(Vec<u8>);

impl Packet for Bytes {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as usize;
        self.0.get(offset..offset + N)?.try_into().ok()
    }
}

fn v4(protocol: u8, options: usize, fragment: u16, port: u16) -> Vec<u8> {
    let mut packet = vec![0x45 + (options / 4) as u8, 0, 0, 99, 0, 0];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 7, 10, 0, 0, 8]);
    packet.extend(vec![1; options]);
    packet.extend(40000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 16]);
    packet
}

fn v6(next: u8, extensions: &[u8], port: u16) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 50, next, 64];
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
    packet.extend(extensions);
    packet.extend(40000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 16]);
    packet
}

fn check(packet: &[u8], ether_type: u16) -> Option<(u8, u16)> {
    for length in 0..packet.len() {
        // A truncated packet may lack its ports; it must never be read beyond its end.
        let _ = parse(&Bytes(packet[..length].to_vec()), ether_type);
    }
    parse(&Bytes(packet.to_vec()), ether_type).map(|s: Segment| (s.protocol, s.destination_port))
}

#[test]
fn ports_of_every_protocol_over_ipv4() {
    for protocol in [6, 17, 132] {
        assert_eq!(check(&v4(protocol, 0, 0, 8080), ETH_P_IP), Some((protocol, 8080)));
        assert_eq!(check(&v4(protocol, 40, 0, 8080), ETH_P_IP), Some((protocol, 8080)));
    }
    assert_eq!(check(&v4(1, 0, 0, 8080), ETH_P_IP), None);
}

#[test]
fn addresses_and_lengths() {
    let four = parse(&Bytes(v4(6, 0, 0, 80)), ETH_P_IP).unwrap();
    let bytes = |segment: Segment| segment.source.map(u64::to_ne_bytes).concat();
    assert_eq!(bytes(four), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7]);
    assert_eq!((four.ip_length, four.transport), (99, 20));
    let six = parse(&Bytes(v6(17, &[], 53)), ETH_P_IPV6).unwrap();
    assert_eq!((bytes(six)[0], bytes(six)[15]), (0xfd, 7));
    assert_eq!((six.ip_length, six.transport), (90, 40));
}

#[test]
fn only_the_first_fragment_has_ports() {
    assert_eq!(check(&v4(17, 0, 0x2000, 53), ETH_P_IP), Some((17, 53)));
    assert_eq!(check(&v4(17, 0, 0x0001, 53), ETH_P_IP), None);
    assert_eq!(check(&v6(44, &[17, 0, 0, 1, 0, 0, 0, 1], 53), ETH_P_IPV6), Some((17, 53)));
    assert_eq!(check(&v6(44, &[17, 0, 0, 9, 0, 0, 0, 1], 53), ETH_P_IPV6), None);
}

#[test]
fn extension_headers_are_walked_up_to_the_bound() {
    let hop = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let long_routing = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(check(&v6(0, &hop(6), 443), ETH_P_IPV6), Some((6, 443)));
    assert_eq!(check(&v6(43, &long_routing, 443), ETH_P_IPV6), Some((6, 443)));
    assert_eq!(check(&v6(51, &[132, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 9), ETH_P_IPV6), Some((132, 9)));
    assert_eq!(check(&v6(59, &[], 443), ETH_P_IPV6), None);
    let chain =
        |count: u32| -> Vec<u8> { (1..=count).flat_map(|n| hop(if n == count { 6 } else { 60 })).collect() };
    assert_eq!(check(&v6(60, &chain(EXTENSION_HEADERS), 1), ETH_P_IPV6), Some((6, 1)));
    assert_eq!(check(&v6(60, &chain(EXTENSION_HEADERS + 1), 1), ETH_P_IPV6), None);
}

#[test]
fn only_a_priority_tag_belongs_to_the_device() {
    let tagged = |vid: u8| [vec![0, vid, 0x08, 0x00], v4(6, 0, 0, 80)].concat();
    assert_eq!(check(&tagged(0), ETH_P_8021Q), Some((6, 80)));
    assert_eq!(check(&tagged(5), ETH_P_8021Q), None);
}

#[test]
fn versions_that_lie_are_refused() {
    assert_eq!(check(&v6(6, &[], 1), ETH_P_IP), None);
    assert_eq!(check(&v4(6, 0, 0, 1), ETH_P_IPV6), None);
    assert_eq!(check(&v4(6, 0, 0, 1), 0x0806), None);
}

#[test]
fn each_segment_had_its_headers() {
    assert_eq!(wire_bytes(1500, 40, 1), 1500);
    assert_eq!(wire_bytes(1500, 40, 0), 1500);
    assert_eq!(wire_bytes(40 + 3000, 40, 3), 3120);
}

/// Like [`Bytes`], but limited to constant offsets.
struct Fixed(Bytes);

impl Packet for Fixed {
    const FIXED_OFFSETS: bool = true;

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }
}

#[test]
fn fixed_offsets_give_the_same_or_nothing() {
    let hop_by_hop = [6, 0, 1, 4, 0, 0, 0, 0];
    for (packet, ether_type, is_fixed) in [
        (v4(6, 0, 0, 80), ETH_P_IP, true),
        (v4(17, 0, 0x2000, 53), ETH_P_IP, true),
        (v4(6, 8, 0, 80), ETH_P_IP, false),
        (v6(17, &[], 53), ETH_P_IPV6, true),
        (v6(0, &hop_by_hop, 443), ETH_P_IPV6, false),
    ] {
        let any = parse(&Bytes(packet.clone()), ether_type);
        assert!(any.is_some());
        assert_eq!(parse(&Fixed(Bytes(packet)), ether_type), any.filter(|_| is_fixed));
    }
}

/// Returns a frame with this destination address before this packet, and writes the packet's length into its header.
fn frame(destination: [u8; 6], ether_type: u16, mut packet: Vec<u8>) -> Vec<u8> {
    let length = packet.len() as u16;
    match ether_type {
        ETH_P_IP => packet[2..4].copy_from_slice(&length.to_be_bytes()),
        _ => packet[4..6].copy_from_slice(&(length - 40).to_be_bytes()),
    }
    [&destination[..], &[2, 0, 0, 0, 0, 1], &ether_type.to_be_bytes(), &packet].concat()
}

fn is_ethernet(frame: Vec<u8>, ether_type: u16) -> bool {
    let length = frame.len() as u32;
    for short in 0..frame.len() {
        let _ = begins_with_ethernet(&Bytes(frame[..short].to_vec()), length, ether_type);
    }
    begins_with_ethernet(&Bytes(frame), length, ether_type)
}

#[test]
fn an_ethernet_header_is_known_for_certain_or_not_at_all() {
    let usual = [0x02, 0x42, 0xac, 0x11, 0, 2];
    let (four, six) = (v4(6, 0, 0, 80), v6(6, &[], 80));
    assert!(is_ethernet(frame(usual, ETH_P_IP, four.clone()), ETH_P_IP));
    assert!(is_ethernet(frame(usual, ETH_P_IPV6, six.clone()), ETH_P_IPV6));
    // A short frame is padded.
    assert!(is_ethernet([frame(usual, ETH_P_IP, four.clone()), vec![0; 6]].concat(), ETH_P_IP));
    // A MAC address that looks like an IP header: certain only if the length in it is impossible.
    assert!(is_ethernet(frame([0x46, 0, 0xff, 0xff, 0, 2], ETH_P_IP, four.clone()), ETH_P_IP));
    assert!(!is_ethernet(frame([0x46, 0, 0, 30, 0, 2], ETH_P_IP, four.clone()), ETH_P_IP));
    assert!(!is_ethernet(frame([0x62, 0, 0, 0, 0, 2], ETH_P_IPV6, six.clone()), ETH_P_IPV6));
    assert!(!is_ethernet(frame(usual, ETH_P_IP, four), ETH_P_IPV6));
}

/// Packets from 8.0.69.0, or from an IPv6 address that contains 86dd, read like an Ethernet header and another packet.
#[test]
fn a_bare_packet_is_never_taken_for_a_frame() {
    let mut four = v4(6, 0, 0, 80);
    four[2..4].copy_from_slice(&60_u16.to_be_bytes());
    four[12..20].copy_from_slice(&[8, 0, 0x45, 0, 0, 30, 0, 1]);
    let mut six = v6(6, &[], 80);
    six[4..6].copy_from_slice(&20_u16.to_be_bytes());
    six[12..20].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 1]);
    for (mut packet, ether_type) in [(four, ETH_P_IP), (six, ETH_P_IPV6)] {
        packet.extend([0; 40]);
        assert!(!is_ethernet(packet, ether_type));
    }
}
