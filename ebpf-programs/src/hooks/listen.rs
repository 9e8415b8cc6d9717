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
        reserved: [0; 12],
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
