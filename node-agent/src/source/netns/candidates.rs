//! Which netns exist: names under the runtime's directories, and processes. Only looks; enters nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many processes of a netns are remembered: as ways into it, and as those that probably hold its sockets.
const MAX_PIDS: usize = 16;
/// How many of them are tried as ways in.
const MAX_WAYS: usize = 4;

/// What holds a netns, by its inode number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Canonical paths, sorted.
    pub paths: Vec<String>,
    /// Some of the processes in it, ascending.
    pub pids: Vec<u32>,
}

impl Candidate {
    /// Every way in, the most lasting first.
    pub fn ways_in(&self, proc_root: &Path) -> Vec<PathBuf> {
        let paths = self.paths.iter().map(PathBuf::from);
        let pids = self.pids.iter().take(MAX_WAYS).map(|pid| proc_root.join(format!("{pid}/ns/net")));
        paths.chain(pids).collect()
    }
}

/// Lists the netns that are mounted in `dirs`, inode to paths; a directory that is not there has none.
#[must_use]
pub fn named(dirs: &[PathBuf], nsfs: u64) -> BTreeMap<u64, Vec<String>> {
    let mut by_inode: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for dir in dirs {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if let Ok(meta) = fs::metadata(&path)
                && meta.dev() == nsfs
            {
                let paths = by_inode.entry(meta.ino()).or_default();
                let path = canonical(&path.to_string_lossy());
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
    }
    by_inode.values_mut().for_each(|paths| paths.sort());
    by_inode
}

/// What some names in the directories are now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Inode and canonical path of those that are a netns.
    pub netns: Vec<(u64, String)>,
    /// Canonical paths that are no netns, any more or yet.
    pub others: Vec<String>,
    /// Names of files that are no netns (yet): `ip netns add` makes the file first and mounts on it then.
    pub unfinished: BTreeSet<String>,
}

/// Looks at these names only: with every name at each change, N new netns would cost N².
#[must_use]
pub fn changed(dirs: &[PathBuf], names: &BTreeSet<String>, nsfs: u64) -> Changed {
    let mut changed = Changed::default();
    for (dir, name) in dirs.iter().flat_map(|dir| names.iter().map(move |name| (dir, name))) {
        let path = dir.join(name);
        let canonical = canonical(&path.to_string_lossy());
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

/// Lists the netns of all processes: inode to some pids.
#[must_use]
pub fn of_processes(proc_root: &Path) -> BTreeMap<u64, Vec<u32>> {
    let mut by_inode: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir(proc_root) else { return by_inode };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(link) = fs::read_link(proc_root.join(format!("{pid}/ns/net"))) else { continue };
        let Some(inode) = link.to_str().and_then(inode_of_link) else { continue };
        let pids = by_inode.entry(inode).or_default();
        if pids.len() < MAX_PIDS {
            pids.push(pid);
        }
    }
    by_inode
}

/// Inode of the host's own netns: that of process 1, or else the agent's own.
#[must_use]
pub fn host_inode(proc_root: &Path, own: u64) -> u64 {
    fs::read_link(proc_root.join("1/ns/net"))
        .ok()
        .and_then(|link| link.to_str().and_then(inode_of_link))
        .unwrap_or(own)
}

/// `/var/run` is `/run`.
#[must_use]
pub fn canonical(path: &str) -> String {
    match path.strip_prefix("/var/run/") {
        Some(rest) => format!("/run/{rest}"),
        None => path.to_owned(),
    }
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
    fn processes_are_found_by_their_netns_and_only_some_of_each() {
        let proc = std::env::temp_dir().join(format!("portolan-proc-{}", std::process::id()));
        let many = u32::try_from(MAX_PIDS).expect("few") + 10;
        let links = (100..100 + many).map(|pid| (pid.to_string(), "net:[1]"));
        let others = [("7", "net:[2]"), ("self", "net:[3]"), ("8", "pid:[4]")];
        for (name, link) in links.chain(others.map(|(name, link)| (name.to_owned(), link))) {
            let ns = proc.join(name).join("ns");
            fs::create_dir_all(&ns).expect("a directory");
            std::os::unix::fs::symlink(link, ns.join("net")).expect("a link");
        }
        let found = of_processes(&proc);
        fs::remove_dir_all(&proc).expect("removed");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((found[&1].len(), &found[&2]), (MAX_PIDS, &vec![7]));
    }

    #[test]
    fn own_netns_is_found() {
        let own = fs::metadata("/proc/self/ns/net").expect("proc").ino();
        assert!(of_processes(Path::new("/proc")).contains_key(&own));
    }
}
