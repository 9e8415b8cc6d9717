//! Notices names that appear and vanish in the netns directories. A directory that does not exist yet is watched once it
//! does.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

/// inotify on the netns directories.
#[derive(Debug)]
pub struct DirWatch {
    inotify: OwnedFd,
    dirs: Vec<(PathBuf, Option<i32>)>,
}

impl DirWatch {
    /// Watches `dirs`, as far as they exist.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub fn new(dirs: &[PathBuf]) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dirs = dirs.iter().map(|dir| (dir.clone(), None)).collect();
        let mut watch = Self { inotify, dirs };
        watch.add_missing();
        Ok(watch)
    }

    /// What to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Some directory is not watched yet.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.dirs.iter().any(|(_, watch)| watch.is_none())
    }

    /// Tries again to watch what was not there; true if one was added.
    pub fn add_missing(&mut self) -> bool {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let mut added = false;
        for (dir, watch) in self.dirs.iter_mut().filter(|(_, watch)| watch.is_none()) {
            *watch = add_watch(&self.inotify, dir.as_path(), flags).ok();
            added |= watch.is_some();
        }
        added
    }

    /// Takes all that is queued. Adds the names of the files that it was about to `changed`; true if that is not all that
    /// changed.
    pub fn drain(&mut self, changed: &mut BTreeSet<String>) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut more = false;
        while let Ok(event) = reader.next() {
            match event.file_name() {
                Some(name) => _ = changed.insert(name.to_string_lossy().into_owned()),
                // Of the directory itself, or of a queue that has overflown.
                None => more = true,
            }
            if event.events().contains(ReadFlags::IGNORED) {
                let ended = event.wd();
                self.dirs
                    .iter_mut()
                    .filter(|(_, watch)| *watch == Some(ended))
                    .for_each(|(_, watch)| *watch = None);
            }
        }
        more
    }
}
