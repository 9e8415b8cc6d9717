//! Lists and removes what the kernel still holds of a runtime: mounts, network namespaces, processes and cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// Returns the mount points below a directory, the innermost first.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    points.sort();
    points.reverse();
    points
}

/// Unmounts a mount point, even if it is in use.
pub fn detach(point: &Path) {
    let _ = unmount(point, UnmountFlags::DETACH);
}

/// Returns the paths of the network namespaces that CNI created.
pub fn cni_netns() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cni-")))
        .collect()
}

/// Returns processes whose command line names the directory (shims), or that are in a cgroup of that name (containers).
pub fn processes_of(dir: &Path, cgroup: &str) -> Vec<i32> {
    let dir = dir.display().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).expect("a pid");
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        *pid != own && (String::from_utf8_lossy(&line).contains(&dir) || groups.contains(cgroup))
    })
    .collect()
}

/// Sends SIGKILL to a process.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Returns the cgroup directories of that name in every hierarchy.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let roots =
        table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    roots.map(|root| Path::new(root).join(name)).filter(|path| path.exists()).collect()
}

/// Removes a cgroup with all cgroups below it; no processes may be left in it.
pub fn remove_cgroup(dir: &Path) {
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = rustix::fs::unlinkat(CWD, dir, rustix::fs::AtFlags::REMOVEDIR);
}
