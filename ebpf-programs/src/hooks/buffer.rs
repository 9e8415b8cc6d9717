//! Reads a socket buffer from the network header on: through the helper, which always works, or directly from the linear
//! data, which is several times as fast but needs a certain offset of the network header.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes_relative};
use portolan_ebpf::packet::{ETHERNET_HEADER, Packet, begins_with_ethernet};

use crate::netns_context::NetnsContext;

/// BPF_HDR_START_NET.
const FROM_NETWORK_HEADER: u32 = 1;

/// Reads any buffer, through the helper.
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

/// Reads a part of a buffer's linear data. Every read is checked against the end, as the verifier demands.
pub struct Linear {
    start: usize,
    end: usize,
}

/// Reads from a packet with a single instruction. The compiler would read single bytes, because it does not know that the kernel
/// allows unaligned reads.
macro_rules! packet_word {
    ($width:literal, $address:expr) => {{
        let word: u64;
        // SAFETY: the caller checked the address against the end of the packet, which the verifier proves.
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
    /// Returns the linear data from the network header on. `None`: the buffer does not certainly hold IPv4 or IPv6 behind an
    /// Ethernet header.
    #[inline(always)]
    pub fn at_network_header(skb: *mut __sk_buff, ether_type: u16, netns: NetnsContext) -> Option<Self> {
        // The link header has another length, or there is none.
        if netns.link_header_length() != ETHERNET_HEADER {
            return None;
        }
        let frame = Self {
            start: register!(skb, __sk_buff, data, 0) as usize,
            end: register!(skb, __sk_buff, data_end, 0) as usize,
        };
        // A packet that was redirected from a device of another kind may arrive without its header.
        let is_certain = begins_with_ethernet(&frame, word!(skb, __sk_buff, len), ether_type);
        is_certain.then(|| Self { start: frame.start + ETHERNET_HEADER as usize, end: frame.end })
    }
}

impl Packet for Linear {
    const FIXED_OFFSETS: bool = true;

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
