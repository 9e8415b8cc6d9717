//! Asks the kernel whether a datagram is for a connected UDP socket.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_sock_tuple},
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release},
};
use portolan_ebpf::{abi::traffic::PeerKey, packet::Packet};

use crate::hooks::Buffer;

/// Offsets of the IP header (upper half) and of the transport header from the network header.
#[derive(Clone, Copy)]
pub struct Headers(pub u32);

/// BPF_F_CURRENT_NETNS: the netns of the interface.
const CURRENT_NETNS: u64 = u64::MAX;
/// State of a connected UDP socket.
const TCP_ESTABLISHED: u32 = 1;

/// Returns true if a connected socket receives this datagram. Only called for peers that are not known yet: the kernel looks the
/// socket up once more, by which it may run the netns's sk_lookup program, which counts no caller outside the netns.
/// `bpf_sk_lookup_udp` since 4.20.
#[inline(always)]
pub fn is_for_connected_socket(skb: *mut __sk_buff, key: &PeerKey, headers: Headers) -> bool {
    let (ip, transport) = (headers.0 >> 16, headers.0 & 0xffff);
    let buffer = Buffer(skb);
    let Some(ports) = buffer.load::<4>(transport) else { return false };
    let [high, low]: [u64; 2] = zerocopy::transmute!(key.address);
    let is_v4 = high == 0 && low as u32 == u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    // Source and destination address, then both ports, in the order of the packet.
    if is_v4 {
        let Some(addresses) = buffer.load::<8>(ip + 12) else { return false };
        let mut tuple = V4 { addresses, ports };
        is_connected(skb, (&raw mut tuple).cast(), size_of::<V4>() as u32)
    } else {
        let Some(addresses) = buffer.load::<32>(ip + 8) else { return false };
        let mut tuple = V6 { addresses, ports };
        is_connected(skb, (&raw mut tuple).cast(), size_of::<V6>() as u32)
    }
}

/// `bpf_sock_tuple` of IPv4.
#[repr(C, align(4))]
struct V4 {
    addresses: [u8; 8],
    ports: [u8; 4],
}

/// `bpf_sock_tuple` of IPv6.
#[repr(C, align(4))]
struct V6 {
    addresses: [u8; 32],
    ports: [u8; 4],
}

#[inline(always)]
fn is_connected(skb: *mut __sk_buff, tuple: *mut bpf_sock_tuple, length: u32) -> bool {
    // SAFETY: the tuple has this length. A socket that is found is released, and not used afterwards.
    unsafe {
        let socket: *mut bpf_sock = bpf_sk_lookup_udp(skb.cast(), tuple, length, CURRENT_NETNS, 0);
        if socket.is_null() {
            return false;
        }
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state == TCP_ESTABLISHED
    }
}
