//! The cgroups of a pod and its container, as kubelet and the runtime create them.

use std::path::{Path, PathBuf};

use super::actor::Actor;

/// The cgroups of one container. Created before its processes, so that they are removed after them.
pub struct PodCgroup(Vec<PathBuf>);

impl PodCgroup {
    pub fn new(uid: &str, container: &str) -> Self {
        let top = cgroup2().join(format!("tier-{}.slice", std::process::id()));
        let pod = top.join(format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_")));
        let container = pod.join(format!("cri-containerd-{container}.scope"));
        std::fs::create_dir_all(&container).expect("cgroups");
        Self(vec![container, pod, top])
    }

    /// Moves an actor into the container's cgroup.
    pub fn take(&self, actor: &Actor) {
        std::fs::write(self.0[0].join("cgroup.procs"), actor.pid().to_string()).expect("move the actor");
    }
}

impl Drop for PodCgroup {
    fn drop(&mut self) {
        // Errors are left to the leak check at the end of the tier: a guard must not panic while a case panics.
        for directory in &self.0 {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

fn cgroup2() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    Path::new(mount.expect("cgroup2 is mounted")).to_owned()
}
