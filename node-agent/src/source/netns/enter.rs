//! Entering a netns and coming back: the thin shell around setns, and what a thread can only ask from inside. A descriptor
//! of a foreign netns is closed as soon as the thread is in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portolan_engine::model::identity::NetnsId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::candidates::first_netns;

/// SO_NETNS_COOKIE (5.14 and newer).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The calling thread's own netns, to which every visit returns.
#[derive(Debug)]
pub struct Home {
    netns: OwnedFd,
    /// Inode of the thread's own netns.
    pub inode: u64,
    /// Device number that every netns inode has.
    pub nsfs: u64,
}

impl Home {
    /// Of the calling thread.
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
    pub fn enter(&self, path: &Path, inode: u64) -> io::Result<Visit<'_>> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.dev() != self.nsfs || meta.ino() != inode {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another netns is mounted there now"));
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(Visit { home: self })
    }

    /// The same by the first of `ways` that leads there.
    ///
    /// # Errors
    /// What forbids it, if anything does; else `NotFound`: no way leads there any more.
    pub fn enter_any(&self, ways: Vec<PathBuf>, inode: u64) -> io::Result<Visit<'_>> {
        let mut strongest = io::Error::from(io::ErrorKind::NotFound);
        for way in ways {
            match self.enter(&way, inode) {
                Ok(visit) => return Ok(visit),
                Err(error) if is_gone(&error) => {}
                Err(error) => strongest = error,
            }
        }
        Err(strongest)
    }
}

/// The name, or the process, is not there any more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The thread is in a foreign netns until this is dropped, by a panic as well.
#[derive(Debug)]
pub struct Visit<'home> {
    home: &'home Home,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Err(error) =
            move_into_link_name_space(self.home.netns.as_fd(), Some(LinkNameSpaceType::Network))
        {
            // A thread that is lost in a pod's netns would answer for the wrong one from now on.
            tracing::error!(%error, "cannot return to the agent's own netns");
            std::process::abort();
        }
    }
}

/// Acts in the node's own netns: that of the first process that may be looked at, else the calling thread's.
///
/// # Errors
/// When it cannot be entered, or what is done there fails.
pub fn in_host_netns<T>(proc_root: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = Home::of_this_thread()?;
    match first_netns(proc_root) {
        Ok((inode, way_in)) if inode != home.inode => {
            let _visit = home.enter(&way_in, inode)?;
            act()
        }
        _ => act(),
    }
}

/// Moves the calling thread into a new netns, which ends with it.
///
/// # Errors
/// When the kernel does not allow it.
pub fn leave_for_a_new_netns() -> io::Result<()> {
    // SAFETY: the thread leaves a netns; no descriptor, memory or lock is changed by that.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// The identity of the netns that the calling thread is in; `inode` is used where the kernel has no cookies.
///
/// # Errors
/// When no socket can be made.
pub fn identity(inode: u64) -> io::Result<NetnsId> {
    Ok(of_cookie(cookie()?, inode))
}

/// As [`identity`], of the netns in which this socket was made.
///
/// # Errors
/// What the kernel says.
pub fn identity_by(socket: &impl AsRawFd, inode: u64) -> io::Result<NetnsId> {
    Ok(of_cookie(cookie_of(socket)?, inode))
}

fn of_cookie(cookie: Option<u64>, inode: u64) -> NetnsId {
    NetnsId(cookie.unwrap_or(inode | 1 << 63))
}

/// The cookie of the netns that the calling thread is in; `None` on kernels before 5.14.
///
/// # Errors
/// When no socket can be made.
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
