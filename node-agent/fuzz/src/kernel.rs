//! Parsers of input from the kernel: packets, which any host may send, and records of the rings.

use portolan::source::kernel::decode;
use portolan_ebpf::packet::{ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, Packet, begins_with_ethernet, parse};

struct Bytes<'a>(&'a [u8]);

impl Packet for Bytes<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// Parses a packet. If a port is found, the header must lie within the packet.
pub fn packet(bytes: &[u8]) {
    let packet = Bytes(bytes);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for ether_type in [ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, 0] {
        let _ = begins_with_ethernet(&packet, length, ether_type);
        if let Some(segment) = parse(&packet, ether_type) {
            assert!(segment.transport + 4 <= length, "{segment:?} of {length} bytes");
            assert!(matches!(segment.protocol, 6 | 17 | 132), "{segment:?}");
        }
    }
}

/// Decodes a record of each ring.
pub fn record(bytes: &[u8]) {
    let _ = decode::listener(bytes);
    let _ = decode::connection(bytes);
}
