//! A node that is itself a container, as kind and k3d create them: it has its own process 1 and a part of the machine's
//! cgroups.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use super::case;
use crate::harness::agent;

pub fn cases() -> Vec<Trial> {
    vec![case("node_in_container/its_part_of_the_cgroups_is_enough", its_part_is_enough)]
}

/// Process 1 of the node; `$1` is the agent, `$2` the mount point of cgroup2. The last part is a pod's, with the node's
/// cgroups mounted beside its own, as a container runtime does.
const NODE: &str = r#"set -e
look() { echo "$1: $("$AGENT" doctor -o json 2>&1 | tr -d '\n')"; }
export AGENT="$1" TREE="$2"
mount -t proc proc /proc
umount --lazy --all --types cgroup2
mount -t cgroup2 none "$TREE"
look "a plain container"
echo $$ > "$TREE/init.scope/cgroup.procs"
look "the node itself"
sh -c 'echo $$ > "$TREE/pods/agent/cgroup.procs"; exec "$@"' sh unshare --cgroup --mount sh -ec '
  look() { echo "$1: $("$AGENT" doctor -o json 2>&1 | tr -d "\n")"; }
  look "a pod with the tree of the node"
  mount -t tmpfs none /mnt && mkdir /mnt/own
  mount -t cgroup2 none /mnt/own
  mount --bind /mnt/own "$TREE"
  look "a pod that sees its own"'
"#;

/// Removed after the processes in it.
struct NodeCgroup(Vec<PathBuf>);

impl NodeCgroup {
    fn new(tree: &Path) -> Self {
        let node = tree.join(format!("tier-node-{}", std::process::id()));
        let parts = ["pods/agent", "pods", "init.scope"].map(|part| node.join(part));
        for part in &parts {
            std::fs::create_dir_all(part).expect("cgroups");
        }
        Self(parts.into_iter().chain([node]).collect())
    }

    fn top(&self) -> &Path {
        self.0.last().expect("the node's")
    }
}

impl Drop for NodeCgroup {
    fn drop(&mut self) {
        // Errors are left to the leak check at the end of the tier: a guard must not panic while a case panics.
        for directory in &self.0 {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

fn its_part_is_enough() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup2 is mounted");
    let tree = Path::new(mount.split(' ').nth(4).expect("a mount point"));
    let cgroup = NodeCgroup::new(tree);
    let output = Command::new("sh")
        .args(["-c", "echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"])
        .arg(cgroup.top())
        .args(["unshare", "--cgroup", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", NODE, "sh"])
        .arg(agent::binary())
        .arg(tree)
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    for (place, words) in [
        ("a plain container", "is not the root of cgroup2"),
        ("the node itself", "this node is a container"),
        ("a pod with the tree of the node", "this node is a container"),
        // The node's cgroup is mounted too, but hidden.
        ("a pod that sees its own", "is not the root of cgroup2"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(&format!("{place}: ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{place}: {words}\n{said}");
    }
}
