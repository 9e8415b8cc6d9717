//! Checks that the tier leaves nothing behind: no namespaces, mounts, processes or kernel programs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::network;
use super::timeouts::eventually;

/// The kernel objects that existed before the tier began.
pub struct Before {
    programs: Option<BTreeSet<u64>>,
}

impl Before {
    pub fn now() -> Self {
        network::sweep();
        Self { programs: programs() }
    }

    /// Panics with a list of what is left.
    pub fn compare(&self) {
        let mine = format!("{}{}-", network::PREFIX, std::process::id());
        let netns: Vec<_> =
            network::tier_netns().into_iter().filter(|name| name.starts_with(&mine)).collect();
        assert!(netns.is_empty(), "namespaces are left: {netns:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts: Vec<_> = mounts.lines().filter(|line| line.contains(&mine)).collect();
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
        let children = children();
        assert!(children.is_empty(), "processes are left: {children:?}");
        self.compare_programs();
    }

    /// Compares the programs, unless another agent runs on this machine: the programs may be the other agent's then.
    fn compare_programs(&self) {
        let Some(before) = &self.programs else {
            println!("leak check of programs skipped: bpftool cannot list them");
            return;
        };
        if agent_runs() {
            println!("leak check of programs skipped: another agent runs on this machine");
            return;
        }
        eventually(Duration::from_secs(5), "no program is left", || {
            let left: Vec<_> = programs().unwrap_or_default().difference(before).copied().collect();
            if left.is_empty() || agent_runs() { Ok(()) } else { Err(format!("programs {left:?}")) }
        });
    }
}

/// Returns the ids of all loaded programs; `None` where bpftool cannot list them.
pub fn programs() -> Option<BTreeSet<u64>> {
    let output = Command::new("bpftool").args(["prog", "list", "-j"]).output().ok()?;
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).ok()?;
    Some(listed.iter().filter_map(|program| program.get("id")?.as_u64()).collect())
}

fn children() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn agent_runs() -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let mut names =
        processes.filter_map(|process| std::fs::read_to_string(process.ok()?.path().join("comm")).ok());
    names.any(|name| name.trim_end() == "portolan")
}
