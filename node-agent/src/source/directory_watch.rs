//! Detects changes of a file by watching the directory with inotify. The directory is watched rather than the file since
//! editors rename files, and a mounted ConfigMap swaps a symbolic link.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;

/// Wait after the first event of a burst, so that one read covers the whole burst.
const SETTLE: Duration = Duration::from_millis(50);

/// An inotify watch on a directory.
#[derive(Debug)]
pub struct DirectoryWatch(AsyncFd<OwnedFd>);

impl DirectoryWatch {
    /// Watches `path` if `path` is a directory, else the directory that holds `path`.
    ///
    /// # Errors
    /// When the kernel refuses the inotify instance or the watch.
    pub fn of(path: &Path) -> io::Result<Self> {
        watched(inotify(path)?).map(Self)
    }

    /// Waits for a change and then for [`SETTLE`]. Never returns if the watch is broken.
    pub async fn changed(&self) {
        let Ok(mut ready) = self.0.readable().await else { return pending().await };
        tokio::time::sleep(SETTLE).await;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(self.0.get_ref().as_fd(), &mut buffer);
        while reader.next().is_ok() {}
        ready.clear_ready();
    }
}

fn watched(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` returns the same open descriptor for its whole life, and `AsyncFd` owns the `OwnedFd`.
    unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)
}

fn inotify(path: &Path) -> io::Result<OwnedFd> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CLOSE_WRITE;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = if path.is_dir() { path } else { parent };
    add_watch(&inotify, dir, flags)?;
    Ok(inotify)
}
