//! Binds and listens through io_uring, without either system call.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::{Errno, Result};
use rustix::net::addr::SocketAddrArg;

/// Binds and listens (Linux 6.11 and newer).
pub fn bind_and_listen(socket: BorrowedFd<'_>, address: SocketAddr, backlog: i32) -> Result<()> {
    let mut ring = IoUring::new(2).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let fd = types::Fd(socket.as_raw_fd());
    // SAFETY: the address lives until the closure ends, which waits for the completion.
    unsafe {
        address.with_sockaddr(|pointer, length| {
            submit(&mut ring, &opcode::Bind::new(fd, pointer.cast(), length).build())
        })
    }?;
    submit(&mut ring, &opcode::Listen::new(fd, backlog).build())
}

fn submit(ring: &mut IoUring, entry: &squeue::Entry) -> Result<()> {
    // SAFETY: what the entry points to lives until its completion, which is awaited here.
    unsafe { ring.submission().push(entry) }.expect("room for one");
    ring.submit_and_wait(1).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let result = ring.completion().next().expect("one completion").result();
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(()) }
}
