//! The directory of the state file. Root reads and writes there, so nothing in it is followed or trusted: no links, no
//! pipes, no file of another user.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Name of the state file.
pub const FILE: &str = "findings";
/// Name of a file that was not believed.
pub const REJECTED: &str = "findings.rejected";
/// Name of a file that is being written.
const UNFINISHED: &str = "findings.new";

/// An open directory that belongs to this user alone.
#[derive(Debug)]
pub struct StateDirectory(OwnedFd);

/// Why the state file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("it is no regular file")]
    NotAFile,
    #[error("it belongs to user {owner}")]
    Owner { owner: u32 },
    #[error("it has more than {most} bytes")]
    TooLarge { most: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl StateDirectory {
    /// Opens the directory, and creates it if only the last part of its path is missing.
    ///
    /// # Errors
    /// If it cannot be opened, is no directory, belongs to another user, or lets others write to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::mkdir(path, Mode::RWXU) {
            // Without rights, or on a file system that is read-only, the directory may exist all the same.
            Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty())?;
        check_owner(&fs::fstat(&directory)?)?;
        Ok(Self(directory))
    }

    /// Reads the state file; `None` if there is none.
    ///
    /// # Errors
    /// If it is not a file of this user with at most `most` bytes, or cannot be read.
    pub fn read(&self, most: usize) -> Result<Option<Vec<u8>>, Unreadable> {
        // Opening a pipe or a device may block or have an effect.
        match fs::statat(&self.0, FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => check(&stat)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, FILE, flags, Mode::empty()).map_err(io::Error::from)?;
        check(&fs::fstat(&file).map_err(io::Error::from)?)?;
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::from(file).take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(Unreadable::TooLarge { most });
        }
        Ok(Some(bytes))
    }

    /// Renames the state file to [`REJECTED`], over an older one.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn set_aside(&self) -> io::Result<()> {
        Ok(fs::renameat(&self.0, FILE, &self.0, REJECTED)?)
    }

    /// Replaces the state file: after a crash at any moment there is the old file or the new one, whole.
    ///
    /// # Errors
    /// If a step fails; the old file then stays. Also while another process writes.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // Two agents of a node write in turns.
        fs::flock(&self.0, FlockOperation::NonBlockingLockExclusive)?;
        let written = self.replace(bytes);
        if written.is_err() {
            let _ = fs::unlinkat(&self.0, UNFINISHED, AtFlags::empty());
        }
        fs::flock(&self.0, FlockOperation::Unlock)?;
        written
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        match fs::unlinkat(&self.0, UNFINISHED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, UNFINISHED, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::renameat(&self.0, UNFINISHED, &self.0, FILE)?;
        Ok(fs::fsync(&self.0)?)
    }
}

/// Checks that a directory could hold the state file, and changes nothing.
///
/// # Errors
/// Says what is wrong.
pub fn examine(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::open(path, flags, Mode::empty())?;
    check_owner(&fs::fstat(&directory)?)?;
    Ok(fs::accessat(&directory, ".", fs::Access::WRITE_OK | fs::Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Checks that nobody but the agent's user can write to the directory.
fn check_owner(stat: &Stat) -> io::Result<()> {
    if !is_own(stat) {
        return Err(io::Error::other(format!("it belongs to user {}", stat.st_uid)));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err(io::Error::other("other users may write to it: expected a directory of the agent's own"));
    }
    Ok(())
}

fn is_own(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

fn check(stat: &Stat) -> Result<(), Unreadable> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Unreadable::NotAFile);
    }
    if !is_own(stat) {
        return Err(Unreadable::Owner { owner: stat.st_uid });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use portolan_testing::scratch::Scratch;

    use super::*;

    const MOST: usize = 100;

    fn names(scratch: &Scratch) -> Vec<String> {
        let entries = std::fs::read_dir(scratch.directory()).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_and_only_the_owner_may_see_it() {
        let scratch = Scratch::new("state");
        let path = scratch.path("made");
        let directory = StateDirectory::open(&path).expect("it is made");
        assert!(directory.read(MOST).expect("readable").is_none());
        for text in ["one", "another, longer", ""] {
            directory.write(text.as_bytes()).expect("written");
            assert_eq!(directory.read(MOST).expect("readable"), Some(text.as_bytes().to_vec()));
        }
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(FILE))), (0o700, 0o600));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("owned");
        let refused = StateDirectory::open(&path).expect_err("others may write").to_string();
        assert!(refused.contains("other users may write to it"), "{refused}");
        assert_eq!(examine(&path).expect_err("the same").to_string(), refused);
        assert_eq!(mode(&path), 0o777, "whose directory it is, is not for the agent to decide");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("owned");
        StateDirectory::open(&path).expect("others may read the name of the file");
        assert!(examine(&path).is_ok());
    }

    #[test]
    fn links_pipes_directories_and_large_files_are_refused_and_can_be_set_aside() {
        let scratch = Scratch::new("state");
        let directory = StateDirectory::open(scratch.directory()).expect("it opens");
        let file = scratch.path(FILE);
        let elsewhere = scratch.write("elsewhere", "secret");
        let plant: [(&str, &dyn Fn()); 5] = [
            ("no regular file", &|| symlink(&elsewhere, &file).expect("a link")),
            ("no regular file", &|| symlink("/dev/zero", &file).expect("a link")),
            ("no regular file", &|| {
                fs::mknodat(fs::CWD, &file, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
            }),
            ("more than 100 bytes", &|| std::fs::write(&file, [b'x'; MOST + 1]).expect("a file")),
            ("no regular file", &|| std::fs::create_dir(&file).expect("a directory")),
        ];
        for (reason, make) in plant {
            make();
            let error = directory.read(MOST).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
            let _ = std::fs::remove_file(scratch.path(REJECTED));
            directory.set_aside().expect("set aside");
            assert!(directory.read(MOST).expect("nothing is there").is_none());
        }
        assert_eq!(std::fs::read_to_string(elsewhere).expect("untouched"), "secret");
    }

    #[test]
    fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
        let scratch = Scratch::new("state");
        let directory = StateDirectory::open(scratch.directory()).expect("it opens");
        let elsewhere = scratch.write("elsewhere", "kept");
        for name in [FILE, UNFINISHED] {
            symlink(&elsewhere, scratch.path(name)).expect("a link");
        }
        directory.write(b"state").expect("written");
        assert_eq!(std::fs::read_to_string(&elsewhere).expect("untouched"), "kept");
        assert_eq!(directory.read(MOST).expect("readable"), Some(b"state".to_vec()));
        assert_eq!(names(&scratch), ["elsewhere", FILE]);
    }

    #[test]
    fn a_directory_that_is_a_link_or_a_file_is_refused() {
        let scratch = Scratch::new("state");
        symlink(scratch.directory(), scratch.path("link")).expect("a link");
        let file = scratch.write("file", "");
        for path in [scratch.path("link"), file, scratch.path("a/b/c")] {
            assert!(StateDirectory::open(&path).is_err(), "{}", path.display());
            assert!(examine(&path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_beside_it() {
        let scratch = Scratch::new("state");
        let directory = StateDirectory::open(scratch.directory()).expect("it opens");
        directory.write(b"old").expect("written");
        let other = StateDirectory::open(scratch.directory()).expect("it opens");
        fs::flock(&other.0, FlockOperation::LockExclusive).expect("a lock");
        assert!(directory.write(b"new").is_err(), "another agent writes");
        drop(other);
        std::fs::create_dir(scratch.path(UNFINISHED)).expect("in the way");
        assert!(directory.write(b"new").is_err());
        std::fs::remove_dir(scratch.path(UNFINISHED)).expect("empty");
        assert_eq!(directory.read(MOST).expect("readable"), Some(b"old".to_vec()));
        assert_eq!(names(&scratch), [FILE]);
        directory.write(b"new").expect("written again");
    }
}
