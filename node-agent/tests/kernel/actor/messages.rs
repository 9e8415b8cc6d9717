//! Sends and receives datagrams by sendmsg and sendmmsg, recvmsg and recvmmsg.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};
use rustix::net::{MMsgHdr, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny};

/// Maximum number of datagrams per recvmmsg.
const AT_ONCE: usize = 16;
const LONGEST: usize = 2048;

/// Sends each datagram with a sendmsg.
pub fn send(socket: BorrowedFd<'_>, to: SocketAddr, length: usize, times: u32) -> Result<()> {
    let payload = vec![b'x'; length];
    for _ in 0..times {
        let mut control = SendAncillaryBuffer::default();
        rustix::net::sendmsg_addr(socket, &to, &[IoSlice::new(&payload)], &mut control, SendFlags::empty())?;
    }
    Ok(())
}

/// Sends all datagrams with one sendmmsg and returns how many were sent.
pub fn send_many(socket: BorrowedFd<'_>, to: SocketAddr, length: usize, times: u32) -> Result<u64> {
    let payload = vec![b'x'; length];
    let slices = [IoSlice::new(&payload)];
    let address = SocketAddrAny::from(to);
    let mut controls: Vec<_> = (0..times).map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<_> =
        controls.iter_mut().map(|control| MMsgHdr::new_with_addr(&address, &slices, control)).collect();
    Ok(rustix::net::sendmmsg(socket, &mut messages, SendFlags::empty())? as u64)
}

/// Receives each datagram with a recvmsg.
pub fn receive(socket: BorrowedFd<'_>, times: u32) -> Result<()> {
    let mut buffer = [0u8; LONGEST];
    for _ in 0..times {
        let mut control = RecvAncillaryBuffer::default();
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty())?;
    }
    Ok(())
}

/// Calls recvmmsg until that many datagrams came.
pub fn receive_many(socket: BorrowedFd<'_>, times: u32) -> Result<()> {
    let mut buffers = [[0u8; LONGEST]; AT_ONCE];
    let mut slices: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: LONGEST })
        .collect();
    // SAFETY: an mmsghdr of zeros is one: no address, no control data, no slices.
    let mut messages: [libc::mmsghdr; AT_ONCE] = unsafe { std::mem::zeroed() };
    for (message, slice) in messages.iter_mut().zip(&mut slices) {
        message.msg_hdr.msg_iov = slice;
        message.msg_hdr.msg_iovlen = 1;
    }
    let mut left = usize::try_from(times).expect("few");
    while left > 0 {
        let wanted = libc::c_uint::try_from(left.min(AT_ONCE)).expect("few");
        // SAFETY: `messages` has at least `wanted` entries, whose slices and buffers live until the function ends.
        let came = unsafe {
            let flags = libc::MSG_WAITFORONE;
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), wanted, flags, std::ptr::null_mut())
        };
        let Ok(came) = usize::try_from(came) else {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        };
        left -= came;
    }
    Ok(())
}
