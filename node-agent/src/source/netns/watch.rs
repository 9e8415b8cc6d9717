//! Watches the netns directories for names that appear and disappear. A directory that does not exist is watched once
//! it does.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

/// An inotify instance on the netns directories.
#[derive(Debug)]
pub struct DirWatch {
    inotify: OwnedFd,
    dirs: Vec<(PathBuf, Option<i32>)>,
}

impl DirWatch {
    /// Watches those of `dirs` that exist.
    ///
    /// # Errors
    /// When the kernel provides no inotify instance.
    pub fn new(dirs: &[PathBuf]) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dirs = dirs.iter().map(|dir| (dir.clone(), None)).collect();
        let mut watch = Self { inotify, dirs };
        watch.add_missing();
        Ok(watch)
    }

    /// Returns the descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Returns true if a directory is not watched yet.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.dirs.iter().any(|(_, watch)| watch.is_none())
    }

    /// Tries again to watch the directories that did not exist. Returns true if one was added.
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

    /// Takes all queued events and adds the names of their files to `changed`. Returns true if more may have changed
    /// than those names.
    pub fn drain(&mut self, changed: &mut BTreeSet<String>) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut more = false;
        while let Ok(event) = reader.next() {
            match event.file_name() {
                Some(name) => _ = changed.insert(name.to_string_lossy().into_owned()),
                // The event is about the directory itself, or the queue overflowed.
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
