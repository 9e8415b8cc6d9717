//! The descriptors of a process that are sockets. Raw readlinkat on the open directory: this is the hot loop of a scan.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, RawDir, open, readlinkat_raw};
use rustix::io::Errno;

/// Number of links of /proc/PID/task for a process of one thread.
const LINKS_OF_ONE_THREAD: u64 = 3;

/// Size of the buffer for directory entries, in bytes; an entry of a descriptor takes 24.
const ENTRIES: usize = 4096;

/// Why the descriptors of a process could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The process has ended.
    Gone,
    /// The process may not be read.
    Forbidden,
}

/// The open directory with the descriptors of a process.
#[derive(Debug)]
pub(super) struct Descriptors(OwnedFd);

impl Descriptors {
    /// Opens the directory of process `pid`.
    ///
    /// # Errors
    /// When the process is gone, or may not be read.
    pub fn of_process(proc_root: &Path, pid: u32) -> Result<Self, Unread> {
        Self::open(proc_root.join(format!("{pid}/fd")))
    }

    fn open(path: PathBuf) -> Result<Self, Unread> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty()).map(Self).map_err(unread)
    }

    /// Returns true if descriptor `number` is the socket with this inode.
    pub fn holds(&self, number: u32, inode: u32) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 64];
        let target = readlinkat_raw(self.0.as_fd(), number.to_string(), &mut buffer);
        target.is_ok_and(|(target, _)| socket_inode(target) == Some(inode))
    }

    /// Calls `each` with the inode and the number of every descriptor that is a socket. Returns the number of descriptors.
    ///
    /// # Errors
    /// When the process may not be read, or ended meanwhile.
    pub fn each_socket(self, mut each: impl FnMut(u32, u32)) -> Result<usize, Unread> {
        let mut count = 0;
        let mut entries = [MaybeUninit::<u8>::uninit(); ENTRIES];
        let mut buffer = [MaybeUninit::<u8>::uninit(); 64];
        let mut directory = RawDir::new(self.0.as_fd(), &mut entries);
        while let Some(entry) = directory.next() {
            let Ok(entry) = entry else { break };
            let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            count += 1;
            match readlinkat_raw(self.0.as_fd(), entry.file_name(), &mut buffer) {
                Ok((target, _)) => {
                    if let Some(inode) = socket_inode(target) {
                        each(inode, number);
                    }
                }
                Err(error) if unread(error) == Unread::Forbidden => return Err(Unread::Forbidden),
                // The descriptor was closed meanwhile.
                Err(_) => {}
            }
        }
        Ok(count)
    }
}

/// Calls `each` with the inode and the number of every socket that process `pid` holds. If the first thread of the process
/// has ended before the others, reads the descriptors of another thread.
///
/// # Errors
/// When the process is gone, or may not be read.
pub(super) fn each_socket(proc_root: &Path, pid: u32, mut each: impl FnMut(u32, u32)) -> Result<(), Unread> {
    if Descriptors::of_process(proc_root, pid)?.each_socket(&mut each)? > 0 {
        return Ok(());
    }
    let tasks = proc_root.join(format!("{pid}/task"));
    if !fs::metadata(&tasks).is_ok_and(|meta| meta.nlink() > LINKS_OF_ONE_THREAD) {
        return Ok(());
    }
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let count =
            Descriptors::open(task.path().join("fd")).and_then(|thread| thread.each_socket(&mut each));
        if count.is_ok_and(|count| count > 0) {
            break;
        }
    }
    Ok(())
}

fn unread(error: Errno) -> Unread {
    if error == Errno::ACCESS || error == Errno::PERM { Unread::Forbidden } else { Unread::Gone }
}

/// Parses `socket:[N]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_socket_has_a_number_and_an_inode() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let number = u32::try_from(listener.as_raw_fd()).expect("a descriptor");
        let (pid, proc_root) = (std::process::id(), Path::new("/proc"));
        let mut inode = None;
        let read = each_socket(proc_root, pid, |socket, at| {
            if at == number {
                inode = Some(socket);
            }
        });
        read.expect("the own process");
        let inode = inode.expect("a socket");
        let own = Descriptors::of_process(proc_root, pid).expect("the own process");
        assert!(own.holds(number, inode) && !own.holds(number, inode ^ 1));
        drop(listener);
        assert_eq!(each_socket(proc_root, u32::MAX, |_, _| {}), Err(Unread::Gone));
    }

    #[test]
    fn only_links_to_sockets_have_a_socket_inode() {
        assert_eq!(socket_inode(b"socket:[77]"), Some(77));
        for other in [&b"pipe:[77]"[..], b"socket:[77", b"socket:[x]", b""] {
            assert_eq!(socket_inode(other), None);
        }
    }
}
