//! The unix socket of `--api`. Only its owner can connect, from the moment it exists, and the agent removes it at its end.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A listening unix socket. Its file is removed on drop.
#[derive(Debug)]
pub struct OwnedSocket {
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that a file that replaced it is not removed.
    identity: (u64, u64),
}

impl OwnedSocket {
    /// Listens on `path`, and replaces the socket of a dead agent. The socket is created in a private folder and renamed to
    /// `path` after its mode is set.
    ///
    /// # Errors
    /// If a live agent uses the path, something other than a socket exists there, or the socket cannot be bound.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            let what = "something that is no socket is there: give another path, or remove it";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let folder = Folder::beside(path)?;
        let made = folder.0.join("s");
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        let identity = identity(&made)?;
        std::fs::rename(&made, path)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A private folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    /// Creates the folder beside `path`, so that a rename stays on one file system.
    fn beside(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).join(format!(".p{}", std::process::id()));
        // A killed agent with the same process id may have left one.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns device and inode of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("portolan-unix-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        folder
    }

    #[tokio::test]
    async fn it_is_the_owners_alone_and_goes_with_the_agent() {
        let folder = scratch("own");
        let path = folder.join("api.sock");
        let socket = OwnedSocket::bind(&path).await.expect("binds");
        assert_eq!(std::fs::metadata(&path).expect("socket").mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).expect("folder").count(), 1, "nothing else is left");
        let taken = OwnedSocket::bind(&path).await.expect_err("in use");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[tokio::test]
    async fn a_dead_ones_is_replaced_another_ones_left_alone_and_no_file_is_overwritten() {
        let folder = scratch("dead");
        let path = folder.join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        let first = OwnedSocket::bind(&path).await.expect("takes the dead one's place");
        std::fs::remove_file(&path).expect("removed");
        let second = OwnedSocket::bind(&path).await.expect("binds");
        drop(first);
        assert!(path.exists(), "the second one's file");
        drop(second);
        std::fs::write(&path, "text").expect("written");
        assert!(OwnedSocket::bind(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "text");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
