//! Enters a netns that has neither a process nor a name, through a socket that a process elsewhere holds in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use portolan_engine::model::identity::NetnsId;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::candidates::SocketEntry;
use super::enter::identity_of_socket;
use crate::source::process::sockets_of;

/// Opens the netns of a socket (linux/sockios.h, Linux 4.10 and newer). Needs CAP_NET_ADMIN.
const SIOCGSKNS: u64 = 0x894C;
/// Maximum number of sockets that are looked at per process.
const MAX_SOCKETS: usize = 256;

/// Opens the netns of the socket. The descriptors of the socket and of the netns end with the returned file.
///
/// # Errors
/// When the process is gone or may not be read, or the descriptor is no socket any more.
pub(super) fn open(entry: SocketEntry) -> io::Result<File> {
    netns_of(&socket(&pidfd(entry.pid)?, entry.descriptor)?)
}

/// Returns the netns of the sockets that process `pid` holds, with their inodes.
#[must_use]
pub(super) fn netns_of_sockets(proc_root: &Path, pid: u32) -> BTreeMap<NetnsId, (u64, SocketEntry)> {
    let Ok(process) = pidfd(pid) else { return BTreeMap::new() };
    let entry = |descriptor: u32| -> io::Result<(NetnsId, (u64, SocketEntry))> {
        let socket = socket(&process, descriptor)?;
        let inode = netns_of(&socket)?.metadata()?.ino();
        Ok((identity_of_socket(&socket, inode)?, (inode, SocketEntry { pid, descriptor })))
    };
    let descriptors = sockets_of(proc_root, pid);
    descriptors.into_iter().take(MAX_SOCKETS).filter_map(|descriptor| entry(descriptor).ok()).collect()
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn socket(process: &impl AsFd, descriptor: u32) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(|_| io::ErrorKind::NotFound)?;
    Ok(pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty())?)
}

fn netns_of(socket: &OwnedFd) -> io::Result<File> {
    // SAFETY: the request takes no argument and returns a new descriptor or an error.
    let descriptor = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS as _) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for this call, so nobody else owns it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::source::netns::enter::HomeNetns;

    #[test]
    fn a_socket_leads_to_its_netns() {
        let _socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let home = HomeNetns::of_this_thread().expect("proc");
        let found = netns_of_sockets(Path::new("/proc"), std::process::id());
        let Some((_, entry)) = found.values().find(|(inode, _)| *inode == home.inode) else {
            return println!("skipped: SIOCGSKNS needs CAP_NET_ADMIN");
        };
        let inode = open(*entry).and_then(|file| file.metadata()).map(|meta| meta.ino());
        assert_eq!(inode.ok(), Some(home.inode));
        assert!(open(SocketEntry { pid: u32::MAX, descriptor: 0 }).is_err());
    }
}
