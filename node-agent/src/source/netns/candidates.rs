//! Finds which netns exist, by names in the runtimes' directories and by processes, without entering any. A failed walk
//! is reported as such, since the netns that it did not find may still exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portolan_engine::model::netns::canonical;

/// Maximum number of processes remembered per netns, as entry paths and as probable owners of its sockets.
const MAX_PIDS: usize = 16;
/// Flag of a kernel thread, in field 9 of /proc/PID/stat.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Maximum number of processes tried as entry paths.
const MAX_ENTRY_PIDS: usize = 4;

/// The names and processes that hold one netns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Canonical paths, sorted.
    pub paths: Vec<String>,
    /// Some of the processes in the netns, ascending.
    pub pids: Vec<u32>,
    /// A socket in the netns, where nothing else leads there.
    pub socket: Option<SocketEntry>,
}

/// A socket of a process in another netns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEntry {
    pub pid: u32,
    pub descriptor: u32,
}

impl Candidate {
    /// Returns the paths by which the netns can be entered, the most durable first.
    pub fn entry_paths(&self, proc_root: &Path) -> Vec<PathBuf> {
        let paths = self.paths.iter().map(PathBuf::from);
        let pids = self.pids.iter().take(MAX_ENTRY_PIDS).map(|pid| proc_root.join(format!("{pid}/ns/net")));
        paths.chain(pids).collect()
    }
}

/// Result of one walk over processes and names.
#[derive(Debug, Default)]
pub struct Walk {
    /// Candidates by inode number.
    pub found: BTreeMap<u64, Candidate>,
    /// Number of processes whose netns may not be read. A nameless netns that has only such processes is not found.
    pub unreadable: usize,
    /// Why the walk is incomplete. A netns that an incomplete walk did not find may not count as gone.
    pub failure: Option<io::Error>,
}

/// Finds every netns that has a process or a name.
#[must_use]
pub fn walk(proc_root: &Path, dirs: &[PathBuf], nsfs: u64) -> Walk {
    let mut walk = Walk::default();
    match netns_of_processes(proc_root) {
        Ok(processes) => {
            walk.unreadable = processes.unreadable;
            for (inode, pids) in processes.by_inode {
                walk.found.entry(inode).or_default().pids = pids;
            }
        }
        Err(error) => walk.failure = Some(with_path(proc_root, &error)),
    }
    // Names are read after processes, so that a netns that loses its last process but keeps its name is never missed.
    match named(dirs, nsfs) {
        Ok(named) => {
            for (inode, paths) in named {
                walk.found.entry(inode).or_default().paths = paths;
            }
        }
        Err(error) => walk.failure = Some(error),
    }
    walk
}

/// Lists the netns that are mounted in `dirs`, by inode, with their paths. A directory that does not exist has none.
///
/// # Errors
/// When a directory that exists cannot be read.
pub fn named(dirs: &[PathBuf], nsfs: u64) -> io::Result<BTreeMap<u64, Vec<String>>> {
    let mut by_inode: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for dir in dirs {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(with_path(dir, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| with_path(dir, &error))?.path();
            if let Ok(meta) = fs::metadata(&path)
                && meta.dev() == nsfs
            {
                let paths = by_inode.entry(meta.ino()).or_default();
                let path = canonical(&path.to_string_lossy()).to_owned();
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
    }
    by_inode.values_mut().for_each(|paths| paths.sort());
    Ok(by_inode)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Result of looking up some names in the directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Inodes and canonical paths of the names that are a netns.
    pub netns: Vec<(u64, String)>,
    /// Canonical paths of the names that are no netns, or do not exist.
    pub others: Vec<String>,
    /// Names of files that are not yet a netns: `ip netns add` creates the file before it mounts the netns on it.
    pub unfinished: BTreeSet<String>,
}

/// Looks up only these names. Looking up every name at each change would cost N² for N new netns.
#[must_use]
pub fn changed(dirs: &[PathBuf], names: &BTreeSet<String>, nsfs: u64) -> Changed {
    let mut changed = Changed::default();
    for (dir, name) in dirs.iter().flat_map(|dir| names.iter().map(move |name| (dir, name))) {
        let path = dir.join(name);
        let canonical = canonical(&path.to_string_lossy()).to_owned();
        match fs::metadata(&path) {
            Ok(meta) if meta.dev() == nsfs => changed.netns.push((meta.ino(), canonical)),
            found => {
                if found.is_ok_and(|meta| meta.is_file()) {
                    changed.unfinished.insert(name.clone());
                }
                changed.others.push(canonical);
            }
        }
    }
    changed
}

/// The netns of all processes.
#[derive(Debug, Default)]
pub struct ProcessNetns {
    /// Pids by inode, up to the maximum per netns.
    pub by_inode: BTreeMap<u64, Vec<u32>>,
    /// Number of processes whose netns may not be read.
    pub unreadable: usize,
}

/// Lists the netns of all processes.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn netns_of_processes(proc_root: &Path) -> io::Result<ProcessNetns> {
    let mut processes = ProcessNetns::default();
    for entry in fs::read_dir(proc_root)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let link = match fs::read_link(proc_root.join(format!("{pid}/ns/net"))) {
            Ok(link) => link,
            Err(error) => {
                processes.unreadable += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                continue;
            }
        };
        let Some(inode) = link.to_str().and_then(inode_of_link) else { continue };
        let pids = processes.by_inode.entry(inode).or_default();
        if pids.len() < MAX_PIDS {
            pids.push(pid);
        }
    }
    Ok(processes)
}

/// Returns the inode of the host's netns: that of its first processes, or else the agent's own.
#[must_use]
pub fn host_inode(proc_root: &Path, own: u64) -> u64 {
    first_netns(proc_root).map_or(own, |(inode, _)| inode)
}

/// Returns the inode and path of the netns of the first process whose netns is readable.
///
/// # Errors
/// Why the netns of process 1 may not be read, if no other first process can be read either.
pub fn first_netns(proc_root: &Path) -> io::Result<(u64, PathBuf)> {
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for process in first_processes(proc_root) {
        let path = process.join("ns/net");
        match fs::read_link(&path) {
            Ok(link) => {
                let inode = link.to_str().and_then(inode_of_link);
                return inode.map(|inode| (inode, path)).ok_or(refused);
            }
            Err(error) if refused.kind() == io::ErrorKind::NotFound => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

/// Returns the directories of process 1 and of the first kernel thread, which is readable where a security module hides
/// process 1.
pub fn first_processes(proc_root: &Path) -> impl Iterator<Item = PathBuf> {
    let thread = proc_root.join("2");
    let is_kernel_thread = procfs::process::Process::new_with_root(thread.clone())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.ppid == 0 && stat.flags & PF_KTHREAD != 0);
    [proc_root.join("1")].into_iter().chain(is_kernel_thread.then_some(thread))
}

fn inode_of_link(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_links_are_read_as_the_kernel_writes_them() {
        assert_eq!(canonical("/var/run/netns/cni-1"), "/run/netns/cni-1");
        assert_eq!(canonical("/run/netns/a"), "/run/netns/a");
        assert_eq!(inode_of_link("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(inode_of_link("pid:[1]"), None);
    }

    #[test]
    fn changed_names_are_netns_or_files_or_nothing() {
        let dir = std::env::temp_dir().join(format!("portolan-names-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("file"), "").expect("a file");
        std::os::unix::fs::symlink("/proc/self/ns/net", dir.join("netns")).expect("a link");
        let netns = fs::metadata("/proc/self/ns/net").expect("proc");
        let names = ["file", "netns", "gone"].map(str::to_owned).into();
        let found = changed(std::slice::from_ref(&dir), &names, netns.dev());
        fs::remove_dir_all(&dir).expect("removed");
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        assert_eq!(found.netns, [(netns.ino(), path("netns"))]);
        assert_eq!(found.others, [path("file"), path("gone")]);
        assert_eq!(found.unfinished, ["file".to_owned()].into());
    }

    #[test]
    fn own_netns_is_found_by_its_process() {
        let own = fs::metadata("/proc/self/ns/net").expect("proc");
        let proc_root = own_process_only("found");
        let found = walk(&proc_root, &[], own.dev());
        fs::remove_dir_all(&proc_root).expect("removed");
        assert_eq!(found.found.keys().copied().collect::<Vec<_>>(), [own.ino()]);
        assert_eq!(found.found[&own.ino()].pids, [std::process::id()]);
        assert!(found.failure.is_none());
    }

    #[test]
    fn a_walk_that_cannot_read_says_so_and_keeps_what_it_found() {
        let own = fs::metadata("/proc/self/ns/net").expect("proc");
        let proc_root = own_process_only("failed");
        let gone = proc_root.join("none");
        assert!(walk(&gone, &[], own.dev()).failure.is_some(), "no processes is no answer");
        let found = walk(&proc_root, &[gone, proc_root.join("net-loop")], own.dev());
        fs::remove_dir_all(&proc_root).expect("removed");
        assert_eq!(found.found.len(), 1);
        let failure = found.failure.expect("a directory that is a loop of links").to_string();
        assert!(failure.contains("net-loop"), "{failure}");
    }

    /// Creates a /proc that holds only this process, and a link that points to itself.
    fn own_process_only(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("portolan-proc-{name}-{}", std::process::id()));
        let pid = std::process::id().to_string();
        fs::create_dir(&root).expect("a directory");
        std::os::unix::fs::symlink(Path::new("/proc").join(&pid), root.join(&pid)).expect("a link");
        std::os::unix::fs::symlink(root.join("net-loop"), root.join("net-loop")).expect("a link");
        root
    }
}
