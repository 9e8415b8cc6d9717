//! Listeners: a TCP socket begins to listen.

use aya_ebpf::programs::SockOpsContext;
use portolan_ebpf::abi::{IPPROTO_TCP, lost::LostSlot, socket::ListenerValue};

use super::{STATE_CB_FLAG, local_address, netns_cookie_of, socket_cookie};
use crate::counter::now;
use crate::listeners::{bind_of, listener_opened};

/// Records a listener after listen(2) succeeded, with or without a bind(2) before it. The process is known only from post_bind:
/// sock_ops programs cannot read it on kernels before 6.12.
#[inline(always)]
pub fn try_listen(ctx: &SockOpsContext) -> Result<(), LostSlot> {
    let cookie = socket_cookie(ctx);
    let mut listener = ListenerValue {
        netns_cookie: netns_cookie_of(ctx),
        opened_boot_ns: now(),
        cgroup_id: 0,
        tgid: 0,
        uid: u32::MAX,
        address: local_address(ctx),
        port: ctx.local_port() as u16,
        family: ctx.family() as u8,
        protocol: IPPROTO_TCP,
        bound_interface: bound_interface(ctx),
        reserved: [0; 8],
        comm: [0; 16],
    };
    if let Some(bind) = bind_of(cookie) {
        listener.cgroup_id = bind.cgroup_id;
        listener.tgid = bind.tgid;
        listener.uid = bind.uid;
        listener.comm = bind.comm;
    }
    // If setting the flag fails, only a shutdown() of this listener goes unseen until the next scan.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | STATE_CB_FLAG) as i32);
    listener_opened(cookie, &listener)
}

/// Returns the index of the interface to which the context's socket is bound; 0 for none.
#[inline(always)]
fn bound_interface(ctx: &SockOpsContext) -> u32 {
    // SAFETY: the socket may be read by every sock_ops program (5.3) that checks the pointer.
    unsafe {
        let socket = (*ctx.ops).__bindgen_anon_2.sk;
        if socket.is_null() { 0 } else { (*socket).bound_dev_if }
    }
}
