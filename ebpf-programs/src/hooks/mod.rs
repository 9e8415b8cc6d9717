//! The hooks, one file per kernel subject. Each hook is an entry point that counts the error of its `try_…` function and always
//! returns the neutral verdict.

/// Reads a 32-bit field of a context, or the n-th word of a field, with a single instruction. The compiler may merge several
/// reads into a load through a computed pointer, which the verifier refuses ("dereference of modified ctx ptr").
macro_rules! word {
    ($context:expr, $type:ty, $field:ident) => {
        word!($context, $type, $field, 0)
    };
    ($context:expr, $type:ty, $field:ident, $n:literal) => {
        register!($context, $type, $field, $n) as u32
    };
}

/// Like [`word`], but returns the whole register: the kernel turns fields that represent a pointer into a full pointer.
macro_rules! register {
    ($context:expr, $type:ty, $field:ident, $n:literal) => {{
        let word: u64;
        // SAFETY: loads four bytes within the context, whose pointer the kernel gave to this program.
        unsafe {
            core::arch::asm!(
                "{word} = *(u32 *)({context} + {offset})",
                word = out(reg) word,
                context = in(reg) $context,
                offset = const core::mem::offset_of!($type, $field) + 4 * $n,
                options(pure, readonly, nostack),
            )
        };
        word
    }};
}

/// Reads the four words of an IPv6 address, each like [`word`].
macro_rules! words {
    ($context:expr, $type:ty, $field:ident) => {
        [
            word!($context, $type, $field, 0),
            word!($context, $type, $field, 1),
            word!($context, $type, $field, 2),
            word!($context, $type, $field, 3),
        ]
    };
}

mod accept;
mod bind;
mod buffer;
mod close;
mod ingress;
mod listen;
mod lookup;
mod sendmsg;

pub use buffer::Buffer;

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_ops,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use portolan_ebpf::abi::{AF_INET, IPPROTO_TCP, lost::LostSlot, traffic::PortKey};

use crate::loss_log::count_and_log;

const TCP_PASSIVE_ESTABLISHED_CB: u32 = 5;
const TCP_STATE_CB: u32 = 10;
const TCP_LISTEN_CB: u32 = 11;
const PARSE_HDR_OPT_CB: u32 = 13;
/// Asks the kernel to call back when the socket's state changes.
const STATE_CB_FLAG: u32 = 1 << 2;
/// Asks the kernel to call back with each packet that arrives.
const PARSE_ALL_HDR_OPT_CB_FLAG: u32 = 1 << 4;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

/// Called about nine times in the life of a TCP connection, with the socket. Uses three of these calls: listen (4.19), handshake
/// completed (4.13) and state changed (4.16); of a recorded connection that this side closed, also each packet that arrives (5.10).
/// Needs 5.15 for the netns cookie.
/// <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_SOCK_OPS/>
#[sock_ops]
fn portolan_tcp(ctx: SockOpsContext) -> u32 {
    if let Err(loss) = try_tcp(&ctx) {
        count_and_log("portolan_tcp", loss);
    }
    1
}

#[inline(always)]
fn try_tcp(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    match ctx.op() {
        TCP_PASSIVE_ESTABLISHED_CB => accept::try_established(ctx),
        TCP_LISTEN_CB => listen::try_listen(ctx),
        TCP_STATE_CB => close::try_state(ctx),
        PARSE_HDR_OPT_CB => {
            close::packet_arrived(ctx);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Returns the cookie of the context's socket.
#[inline(always)]
fn socket_cookie(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the context pointer is the one the kernel gave to this program.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Returns the netns cookie of the context's socket.
#[inline(always)]
fn netns_cookie_of(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: as above.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// Returns the key of a TCP socket's local port.
#[inline(always)]
fn tcp_port(ctx: &SockOpsContext) -> PortKey {
    PortKey::new(netns_cookie_of(ctx), ctx.local_port() as u16, IPPROTO_TCP)
}

#[inline(always)]
fn local_address(ctx: &SockOpsContext) -> [u8; 16] {
    if ctx.family() == u32::from(AF_INET) {
        mapped(word!(ctx.ops, bpf_sock_ops, local_ip4))
    } else {
        address(words!(ctx.ops, bpf_sock_ops, local_ip6))
    }
}

#[inline(always)]
fn remote_address(ctx: &SockOpsContext) -> [u8; 16] {
    if ctx.family() == u32::from(AF_INET) {
        mapped(word!(ctx.ops, bpf_sock_ops, remote_ip4))
    } else {
        address(words!(ctx.ops, bpf_sock_ops, remote_ip6))
    }
}

/// Returns the peer's port. The field is a __be32: network order.
#[inline(always)]
fn remote_port(ctx: &SockOpsContext) -> u16 {
    u32::from_be(ctx.remote_port()) as u16
}

/// What programs need of the TCP header of the packet that caused a call.
struct TcpHeader {
    sequence: u32,
    /// Length with options, in bytes.
    length: u32,
}

/// Returns the header of the packet that caused the call; `None` if no packet did.
#[inline(always)]
fn tcp_header(ctx: &SockOpsContext) -> Option<TcpHeader> {
    const SHORTEST: usize = 20;
    // SAFETY: both fields may be read by every sock_ops program. Every read is checked against the end.
    unsafe {
        let header = (*ctx.ops).__bindgen_anon_3.skb_data as usize;
        let end = (*ctx.ops).__bindgen_anon_4.skb_data_end as usize;
        if header + SHORTEST > end {
            return None;
        }
        let sequence = u32::from_be(((header + 4) as *const u32).read_unaligned());
        let length = u32::from(((header + 12) as *const u8).read() >> 4) * 4;
        Some(TcpHeader { sequence, length })
    }
}

/// Converts an IPv4 address from the kernel's form (network order in memory) to an IPv4-mapped IPv6 address.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    let [a, b, c, d] = address.to_ne_bytes();
    zerocopy::transmute!([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])])
}

/// Converts an IPv6 address from the kernel's form (network order in memory).
#[inline(always)]
fn address(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    zerocopy::transmute!([
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]),
        u64::from_ne_bytes([c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]),
    ])
}
