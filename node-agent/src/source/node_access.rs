//! Checks that this process can see the node: the processes, the network namespaces, the runtime's socket. A pod sees only
//! what its manifest mounts; without one of these the agent would miss pods silently, so the agent reports what is missing
//! and ends.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, MountOptFields, Process};

use super::confinement::Confinement;
use super::netns::candidates;
use super::pods::cri;

/// Parts of the node that the agent needs to see.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub netns_dirs: &'a [PathBuf],
    /// Socket of the container runtime; `Some(None)`: the first default socket that exists; `None`: no runtime is followed.
    pub runtime: Option<Option<&'a Path>>,
    pub proc_root: &'a Path,
}

/// Returns everything that is missing, in the terms of a pod's manifest. Mounts are only checked in a pod.
#[must_use]
pub fn missing(wanted: &Wanted<'_>) -> Vec<String> {
    let mut missing: Vec<String> = host_processes(wanted.proc_root).err().into_iter().collect();
    if is_in_pod(wanted.proc_root) {
        missing.extend(missing_mounts(wanted));
    }
    missing
}

/// Returns the mounts that are missing.
#[must_use]
pub fn missing_mounts(wanted: &Wanted<'_>) -> Vec<String> {
    let mounts = Process::myself().and_then(|process| process.mountinfo()).map(|mounts| mounts.0);
    let mounts = mounts.unwrap_or_default();
    let dirs = wanted.netns_dirs.iter().filter_map(|dir| netns_dir(dir, &mounts).err());
    dirs.chain(wanted.runtime.and_then(|socket| runtime_dir(socket).err())).collect()
}

/// Checks that the processes of the node and their network namespaces can be read.
///
/// # Errors
/// Names what is missing.
pub fn host_processes(proc_root: &Path) -> Result<(), String> {
    if has_own_pids() {
        return Err(
            "hostPID is missing (to see the processes that hold the sockets: process 1 here is the agent \
                    itself)"
                .to_owned(),
        );
    }
    let Err(error) = candidates::first_netns(proc_root) else { return Ok(()) };
    let confinement = Confinement::own();
    let is_held_back = error.kind() == io::ErrorKind::PermissionDenied && !confinement.is_none();
    if is_held_back || is_in_pod(proc_root) {
        return Err(format!(
            "the network namespace of process 1 cannot be read ({error}): {}",
            confinement.advice()
        ));
    }
    Ok(())
}

/// True if this process has a root directory of its own, as containers have.
#[must_use]
pub fn is_in_pod(proc_root: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let first = candidates::first_processes(proc_root).find_map(|dir| identity(&dir.join("root")).ok());
    has_own_pids() || first.is_some_and(|first| identity(Path::new("/")).is_ok_and(|own| own != first))
}

/// True if this process is the first of its pid namespace, so that the node's processes cannot be seen.
fn has_own_pids() -> bool {
    std::process::id() == 1
}

fn netns_dir(dir: &Path, mounts: &[MountInfo]) -> Result<(), String> {
    let what = dir.display();
    // Of several mounts at one mount point the last is on top.
    let mount = mounts
        .iter()
        .filter(|mount| dir.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count());
    match mount {
        Some(mount) if dir.is_dir() && mount.mount_point != Path::new("/") => {
            let follows = |field: &MountOptFields| {
                matches!(field, MountOptFields::Shared(_) | MountOptFields::Master(_))
            };
            if mount.opt_fields.iter().any(follows) {
                return Ok(());
            }
            Err(format!(
                "the mount {what} lacks mountPropagation: HostToContainer (to see the network namespaces of pods that start \
                 later)"
            ))
        }
        _ => Err(format!("the mount {what} of the node is missing (to see the network namespaces of pods)")),
    }
}

fn runtime_dir(socket: Option<&Path>) -> Result<(), String> {
    let is_there = |socket: &Path| socket.parent().is_some_and(Path::is_dir);
    match socket {
        Some(socket) if is_there(socket) => Ok(()),
        Some(socket) => Err(format!(
            "the mount of the container runtime's socket {} is missing (to know which pods there are)",
            socket.display()
        )),
        None if cri::socket::DEFAULTS.iter().any(|socket| is_there(Path::new(socket))) => Ok(()),
        None => Err(format!(
            "the mount of the container runtime's socket is missing (to know which pods there are): one of {}",
            cri::socket::DEFAULTS.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(lines: &[&str]) -> Vec<MountInfo> {
        lines.iter().map(|line| MountInfo::from_line(line).expect("a line")).collect()
    }

    #[test]
    fn a_netns_directory_must_be_a_mount_that_follows_the_nodes() {
        let dir = std::env::temp_dir();
        let at =
            |point: &str, fields: &str| format!("1 2 0:1 / {point} ro,relatime {fields}- tmpfs tmpfs rw");
        let root = at("/", "");
        let point = dir.to_string_lossy();
        let checked = |fields: &str| netns_dir(&dir, &mounts(&[&root, &at(&point, fields)]));
        assert_eq!(checked("master:7 "), Ok(()));
        assert_eq!(checked("shared:7 "), Ok(()));
        assert!(checked("").expect_err("private").contains("HostToContainer"));
        let own = netns_dir(&dir, &mounts(&[&root])).expect_err("the container's own directory");
        assert!(own.contains("is missing"), "{own}");
    }

    #[test]
    fn a_runtimes_socket_may_be_down_but_not_unmounted() {
        assert_eq!(runtime_dir(Some(&std::env::temp_dir().join("down.sock"))), Ok(()));
        let gone = runtime_dir(Some(Path::new("/nowhere/to/be/found.sock"))).expect_err("not mounted");
        assert!(gone.contains("/nowhere/to/be/found.sock"), "{gone}");
    }
}
