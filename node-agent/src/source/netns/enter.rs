//! Enters a netns and returns from it: a thin wrapper around setns, and queries that need a thread inside the netns.
//! The descriptor of a foreign netns is closed as soon as the thread is inside.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portolan_engine::model::identity::NetnsId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::candidates::first_netns;

/// Socket option that returns the netns cookie (Linux 5.14 and newer).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The calling thread's own netns, to which every visit returns.
#[derive(Debug)]
pub struct HomeNetns {
    netns: OwnedFd,
    /// Inode of the thread's own netns.
    pub inode: u64,
    /// Device number of nsfs, which every netns inode has.
    pub nsfs: u64,
}

impl HomeNetns {
    /// Opens the netns of the calling thread.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn of_this_thread() -> io::Result<Self> {
        let file = File::open("/proc/thread-self/ns/net")?;
        let meta = file.metadata()?;
        Ok(Self { netns: file.into(), inode: meta.ino(), nsfs: meta.dev() })
    }

    /// Moves the calling thread into the netns behind `path`, if its inode is still `inode`.
    ///
    /// # Errors
    /// When the netns is gone or was replaced (`NotFound`), or setns is not allowed.
    pub fn enter(&self, path: &Path, inode: u64) -> io::Result<NetnsGuard<'_>> {
        self.enter_file(&File::open(path)?, inode)
    }

    /// Moves the calling thread into the netns that `file` is, if its inode is `inode`.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn enter_file(&self, file: &File, inode: u64) -> io::Result<NetnsGuard<'_>> {
        let meta = file.metadata()?;
        if meta.dev() != self.nsfs || meta.ino() != inode {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another netns is mounted there now"));
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(NetnsGuard { home: self })
    }

    /// Enters the netns by the first of `paths` that leads to it.
    ///
    /// # Errors
    /// The error that forbids entry, if there is one; else `NotFound`: no path leads there any more.
    pub fn enter_any(&self, paths: Vec<PathBuf>, inode: u64) -> io::Result<NetnsGuard<'_>> {
        let mut refusal = io::Error::from(io::ErrorKind::NotFound);
        for path in paths {
            match self.enter(&path, inode) {
                Ok(guard) => return Ok(guard),
                Err(error) if is_gone(&error) => {}
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

/// Returns true if the name or the process does not exist any more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Keeps the thread in a foreign netns until dropped. Also returns the thread on a panic.
#[derive(Debug)]
pub struct NetnsGuard<'home> {
    home: &'home HomeNetns,
}

impl Drop for NetnsGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) =
            move_into_link_name_space(self.home.netns.as_fd(), Some(LinkNameSpaceType::Network))
        {
            // A thread that stays in a pod's netns would report facts of the wrong netns from now on.
            tracing::error!(%error, "cannot return to the agent's own netns");
            std::process::abort();
        }
    }
}

/// Runs `act` in the node's own netns: that of the first process whose netns is readable, else the calling thread's.
///
/// # Errors
/// When the netns cannot be entered, or `act` fails.
pub fn in_host_netns<T>(proc_root: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = HomeNetns::of_this_thread()?;
    match first_netns(proc_root) {
        Ok((inode, path)) if inode != home.inode => {
            let _guard = home.enter(&path, inode)?;
            act()
        }
        _ => act(),
    }
}

/// Moves the calling thread into a new netns, which ends with the thread.
///
/// # Errors
/// When the kernel does not allow it.
pub fn unshare_netns() -> io::Result<()> {
    // SAFETY: unsharing the netns changes no descriptor, memory or lock of the thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// Returns the identity of the calling thread's netns: its cookie, or a number made of `inode` where the kernel has no
/// cookies.
///
/// # Errors
/// When no socket can be created.
pub fn identity(inode: u64) -> io::Result<NetnsId> {
    Ok(identity_from(cookie()?, inode))
}

/// Returns the identity of the netns in which `socket` was created; see [`identity`].
///
/// # Errors
/// The error of getsockopt.
pub fn identity_of_socket(socket: &impl AsRawFd, inode: u64) -> io::Result<NetnsId> {
    Ok(identity_from(cookie_of(socket)?, inode))
}

fn identity_from(cookie: Option<u64>, inode: u64) -> NetnsId {
    NetnsId(cookie.unwrap_or(inode | 1 << 63))
}

/// Returns the cookie of the calling thread's netns; `None` on kernels before 5.14.
///
/// # Errors
/// When no socket can be created.
pub fn cookie() -> io::Result<Option<u64>> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .or_else(|_| socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None))?;
    cookie_of(&socket)
}

fn cookie_of(socket: &impl AsRawFd) -> io::Result<Option<u64>> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
    // SAFETY: `cookie` and `length` outlive the call, and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        return Ok(Some(cookie));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(None) } else { Err(error) }
}
