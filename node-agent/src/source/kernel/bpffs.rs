//! A private bpffs that is mounted nowhere. Loads share maps by pins in it, and a detached mount leaves nothing behind,
//! not even after SIGKILL.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The detached mount; the kernel removes it when this is dropped.
#[derive(Debug)]
pub struct DetachedBpffs(OwnedFd);

impl DetachedBpffs {
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.2, ENODEV without bpffs.
    pub fn new() -> io::Result<Self> {
        let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        Ok(Self(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?))
    }

    /// Returns a path to its root that is valid in this process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
