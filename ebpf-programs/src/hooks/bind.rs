//! Binds: records the process that bound a TCP socket, and UDP sockets as listeners.

use aya_ebpf::{
    EbpfContext, bindings::bpf_sock, helpers::generated::bpf_get_current_cgroup_id, macros::cgroup_sock,
    programs::SockContext,
};
use portolan_ebpf::abi::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP,
    lost::LostSlot,
    socket::{COMM_LEN, ListenerValue},
};

use super::{address, mapped, netns_cookie_of, socket_cookie};
use crate::counter::now;
use crate::listeners::{listener_opened, remember_bind};
use crate::loss_log::count_and_log;

/// IPPROTO_MPTCP, as passed to socket(2).
const IPPROTO_MPTCP: u32 = 262;

/// Called after bind(2) assigned a port to an IPv4 socket, in the calling process. Since 4.17; netns cookie since 5.7.
/// <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_CGROUP_SOCK/>
#[cgroup_sock(post_bind4)]
fn portolan_bind4(ctx: SockContext) -> i32 {
    let local = mapped(word!(ctx.sock, bpf_sock, src_ip4));
    if let Err(loss) = try_bind(&ctx, AF_INET, local) {
        count_and_log("portolan_bind4", loss);
    }
    1
}

/// Like [`portolan_bind4`], for IPv6 sockets.
#[cgroup_sock(post_bind6)]
fn portolan_bind6(ctx: SockContext) -> i32 {
    let local = address(words!(ctx.sock, bpf_sock, src_ip6));
    if let Err(loss) = try_bind(&ctx, AF_INET6, local) {
        count_and_log("portolan_bind6", loss);
    }
    1
}

#[inline(always)]
fn try_bind(ctx: &SockContext, family: u8, local: [u8; 16]) -> Result<(), LostSlot> {
    // SAFETY: protocol may be read by every cgroup_sock program.
    let protocol = match unsafe { (*ctx.sock).protocol } {
        6 | IPPROTO_MPTCP => IPPROTO_TCP,
        17 => IPPROTO_UDP,
        _ => return Ok(()),
    };
    let cookie = socket_cookie(ctx);
    let bound = ListenerValue {
        netns_cookie: netns_cookie_of(ctx),
        opened_boot_ns: now(),
        // SAFETY: takes no argument and always succeeds.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        tgid: ctx.tgid(),
        uid: ctx.uid(),
        address: local,
        // SAFETY: src_port may be read in post_bind.
        port: unsafe { (*ctx.sock).src_port } as u16,
        family,
        protocol,
        bound_interface: 0,
        reserved: [0; 8],
        // The task's name is the thread's. Only the main thread's is the process's too.
        comm: if ctx.pid() == ctx.tgid() { ctx.command().unwrap_or_default() } else { [0; COMM_LEN] },
    };
    if protocol == IPPROTO_TCP {
        remember_bind(cookie, &bound);
        return Ok(());
    }
    listener_opened(cookie, &bound)
}
