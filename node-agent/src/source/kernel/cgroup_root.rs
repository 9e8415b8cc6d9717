//! Finds the cgroup to attach the programs to: one that has every pod of this node below it. That is the root of
//! cgroup2, or, where the node is itself a container (kind, k3d, minikube, LXC), the root that the container was given.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::refusal::KernelRefusal;

/// Inode of the root of every cgroup2 tree. The root of a cgroup namespace has another inode.
const ROOT_INODE: u64 = 1;

/// The cgroup that was found.
#[derive(Debug)]
pub struct CgroupRoot {
    pub dir: File,
    pub extent: Extent,
}

/// How much of the machine's cgroup tree is below a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Machine,
    /// A node that is a container: its first process and all that this process started.
    NodeInContainer,
}

/// A cgroup2 mount, as this process sees it.
struct Mount {
    point: PathBuf,
    /// The mounted cgroup, relative to this process's cgroup namespace: `/../..` is two levels above its root.
    root: String,
}

/// Finds the root cgroup among the mounts of this process.
///
/// # Errors
/// When no mount has every pod of this node below it.
pub fn root_cgroup() -> Result<CgroupRoot, KernelRefusal> {
    let mounts = procfs::process::Process::myself()
        .and_then(|process| process.mountinfo())
        .map_err(|error| KernelRefusal::step("reading /proc/self/mountinfo", &error))?;
    let mounts: Vec<Mount> = mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup2")
        .map(|mount| Mount { point: mount.mount_point, root: mount.root })
        .collect();
    if mounts.is_empty() {
        return Err(KernelRefusal::of(
            "no cgroup2 is mounted: in a pod mount the node's /sys/fs/cgroup, else `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ));
    }
    // Without /proc/1/cgroup only the machine's own root is accepted.
    let first = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let mut found: Vec<CgroupRoot> = mounts.iter().filter_map(|mount| look(mount, &first)).collect();
    found.sort_by_key(|root| root.extent != Extent::Machine);
    found.into_iter().next().ok_or_else(|| {
        let points: Vec<String> = mounts.iter().map(|mount| mount.point.display().to_string()).collect();
        KernelRefusal::of(format!(
            "{} is not the root of cgroup2 but that of a cgroup namespace: in a pod mount the node's /sys/fs/cgroup",
            points.join(", ")
        ))
    })
}

fn look(mount: &Mount, first: &str) -> Option<CgroupRoot> {
    let dir = File::open(&mount.point).ok()?;
    let inode = dir.metadata().ok()?.ino();
    let extent = extent(inode, &mount.root, first, |below| is_of_first(&mount.point.join(below)))?;
    Some(CgroupRoot { dir, extent })
}

/// Returns the extent of a mount with this inode and root if every pod of this node is below it. `first` is the content
/// of /proc/1/cgroup. `holds_first` returns whether process 1 is in that cgroup below the mount, which another mount on
/// top may hide.
fn extent(inode: u64, root: &str, first: &str, holds_first: impl Fn(&Path) -> bool) -> Option<Extent> {
    if inode == ROOT_INODE {
        return Some(Extent::Machine);
    }
    let cgroup = first.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A cgroup with processes of its own cannot have pods below it. A node's first process has therefore moved to a
    // child, while in a plain container it is in the root itself.
    below(root, cgroup).filter(|path| holds_first(path)).map(|_| Extent::NodeInContainer)
}

/// Returns `path` relative to `root` if it is strictly below; both are as seen from one cgroup namespace.
fn below<'a>(root: &str, path: &'a str) -> Option<&'a Path> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?;
    let is_below = !rest.is_empty() && rest.split('/').all(|part| part != "..");
    is_below.then(|| Path::new(rest))
}

/// Returns true if process 1, in this process's pid namespace, is in the cgroup.
fn is_of_first(cgroup: &Path) -> bool {
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    members.lines().any(|pid| pid == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the extent of a mount with this root, where process 1 is in `first` and every cgroup is visible.
    fn seen(root: &str, first: &str) -> Option<Extent> {
        extent(4711, root, &format!("12:cpu:/elsewhere\n0::{first}\n"), |_| true)
    }

    #[test]
    fn the_machines_root_is_accepted_whatever_process_1_is() {
        for first in ["", "0::/init.scope\n", "0::/\n"] {
            assert_eq!(extent(1, "/", first, |_| false), Some(Extent::Machine), "{first:?}");
        }
    }

    #[test]
    fn a_node_in_a_container_is_known_by_its_first_process_below() {
        // kind: the agent's pod has its own cgroup namespace, four levels below the node's.
        assert_eq!(seen("/../../../..", "/../../../../init.scope"), Some(Extent::NodeInContainer));
        // The same from the node itself, and where runtime and agent share the machine's cgroup namespace.
        assert_eq!(seen("/", "/init.scope"), Some(Extent::NodeInContainer));
        assert_eq!(seen("/docker/0a1b", "/docker/0a1b/init"), Some(Extent::NodeInContainer));
    }

    #[test]
    fn the_agents_own_container_is_refused() {
        // A pod with hostPID on a real node, and on a node in a container.
        assert_eq!(seen("/", "/../../../../init.scope"), None);
        assert_eq!(seen("/kubepods.slice/pod1.slice/agent.scope", "/init.scope"), None);
        // Without hostPID process 1 is the agent, or the pod's pause container beside it.
        assert_eq!(seen("/", "/"), None);
        assert_eq!(seen("/", "/../pause.scope"), None);
        assert_eq!(seen("/../../../..", "/"), None);
    }

    #[test]
    fn a_part_of_the_nodes_tree_is_refused() {
        assert_eq!(seen("/system.slice", "/init.scope"), None);
        assert_eq!(seen("/init.scope", "/init.scope"), None, "pods are beside it");
        assert_eq!(seen("/init", "/init.scope/x"), None, "a name that only begins alike");
        assert_eq!(seen("/..", "/../../init.scope"), None, "above what is mounted");
    }

    #[test]
    fn process_1_must_really_be_there() {
        let asked = |path: &Path| {
            assert_eq!(path, Path::new("init.scope"));
            false
        };
        assert_eq!(extent(4711, "/../..", "0::/../../init.scope\n", asked), None, "hidden by another mount");
        assert_eq!(extent(4711, "/", "", |_| true), None, "/proc/1/cgroup cannot be read");
        assert_eq!(extent(4711, "/", "3:cpu:/init.scope\n", |_| true), None, "cgroup v1 only");
    }
}
