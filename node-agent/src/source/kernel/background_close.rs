//! Closes descriptors in the background, one after the other. Closing a TCX link waits for an RCU grace period, and a
//! process that ends waits for every one of them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};

/// Maximum number of descriptors in one message: `SCM_MAX_FD` of the kernel.
const MAX_PER_MESSAGE: usize = 253;

/// Lets the kernel close the descriptors after this call. They are sent into a socket that nobody can receive from, since
/// its only reference is in its own queue. The kernel's garbage collector frees such a socket, and closes what is queued on
/// a worker thread, one descriptor at a time. An older kernel collects in the calling thread, and closes all of them before
/// this returns.
///
/// # Errors
/// When the kernel does not take the descriptors. They are closed nevertheless, before this returns.
pub fn close_in_background(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    if descriptors.is_empty() {
        return Ok(());
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for some in descriptors.chunks(MAX_PER_MESSAGE) {
        send(&sender, &some.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    }
    send(&sender, &[receiver.as_fd()])?;
    // From here on only the queue holds them. The collector runs when the sender is closed, and must find the queue
    // without any other reference.
    drop(descriptors);
    drop(receiver);
    drop(sender);
    Ok(())
}

fn send(sender: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A message without a byte carries no descriptors.
    sendmsg(sender, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn every_descriptor_is_closed_however_many() {
        // More than one message carries.
        let pipes = (0..MAX_PER_MESSAGE + 7).map(|_| io::pipe().expect("a pipe"));
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.unzip();
        close_in_background(writers.into_iter().map(OwnedFd::from).collect()).expect("the kernel takes them");
        for reader in readers {
            // A reader sees the end when the last writer is closed.
            let mut fds = [PollFd::new(&reader, PollFlags::IN)];
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            poll(&mut fds, Some(&patience)).expect("poll");
            assert!(fds[0].revents().contains(PollFlags::HUP), "{:?}", fds[0].revents());
        }
    }

    #[test]
    fn nothing_to_close_is_no_error() {
        close_in_background(Vec::new()).expect("nothing");
    }
}
