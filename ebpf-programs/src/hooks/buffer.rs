//! A socket buffer's bytes from the network header on: by the helper, which always works, and straight from the linear
//! part, which is several times as fast where the place of the network header is certain.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes_relative};
use portolan_ebpf::packet::{ETHERNET_HEADER, Packet, begins_with_ethernet};

use crate::maps::Place;

/// BPF_HDR_START_NET.
const FROM_NETWORK_HEADER: u32 = 1;

/// Any buffer.
pub struct Buffer(pub *mut __sk_buff);

impl Packet for Buffer {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = core::mem::MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer is N bytes long; the helper fills all of it or fails.
        unsafe {
            let status = bpf_skb_load_bytes_relative(
                self.0.cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
                FROM_NETWORK_HEADER,
            );
            (status == 0).then(|| bytes.assume_init())
        }
    }
}

/// Part of a buffer's linear data. Every read is compared with its end, as the verifier demands.
pub struct Linear {
    start: usize,
    end: usize,
}

/// Reads from a packet by an instruction of its own: the compiler would take single bytes, since it cannot know that the
/// kernel allows what is not aligned.
macro_rules! packet_word {
    ($width:literal, $address:expr) => {{
        let word: u64;
        // SAFETY: the caller compared the address with the end of the packet, and the verifier proves that it did.
        unsafe {
            core::arch::asm!(
                concat!("{word} = *(", $width, " *)({address} + 0)"),
                word = out(reg) word,
                address = in(reg) $address,
                options(pure, readonly, nostack),
            )
        };
        word
    }};
}

impl Linear {
    /// From the network header on, of a buffer that holds IPv4 or IPv6 behind an Ethernet header; `None` where that is not
    /// certain.
    #[inline(always)]
    pub fn at_network_header(skb: *mut __sk_buff, ether_type: u16, place: Place) -> Option<Self> {
        // A header of another length, or none.
        if place.link_header_length() != ETHERNET_HEADER {
            return None;
        }
        let frame = Self {
            start: register!(skb, __sk_buff, data, 0) as usize,
            end: register!(skb, __sk_buff, data_end, 0) as usize,
        };
        // Redirected from a device of another kind, a packet may come without its header.
        let is_certain = begins_with_ethernet(&frame, word!(skb, __sk_buff, len), ether_type);
        is_certain.then(|| Self { start: frame.start + ETHERNET_HEADER as usize, end: frame.end })
    }
}

impl Packet for Linear {
    const FIXED_PLACES: bool = true;

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut at = self.start + offset as usize;
        if at + N > self.end {
            return None;
        }
        let mut bytes = [0; N];
        let (words, rest) = bytes.as_chunks_mut::<4>();
        for word in words {
            *word = (packet_word!("u32", at) as u32).to_ne_bytes();
            at += 4;
        }
        for byte in rest {
            *byte = packet_word!("u8", at) as u8;
            at += 1;
        }
        Some(bytes)
    }
}
