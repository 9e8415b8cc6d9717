//! The demo's network: a bridge in its own namespace, and one namespace per pod. Does not touch the host's network. Removed when
//! the guard is dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, bail};

use super::agent::NODE;
use super::pods::Pod;
use super::process::{end, kill};
use crate::step;

/// Prefix of the demo's namespaces, and of no others.
pub const PREFIX: &str = "portolan-demo-";
/// Namespace of the bridge.
const NET: &str = "portolan-demo-net";

/// Namespaces and processes, removed on drop.
pub struct World {
    processes: Vec<Child>,
    kept: bool,
}

impl World {
    /// Creates the bridge and the pods' namespaces.
    ///
    /// # Errors
    /// If `ip` fails; everything that was created before is removed.
    pub fn make(pods: &[&Pod]) -> Result<Self> {
        let world = Self { processes: Vec::new(), kept: false };
        ip(&["netns", "add", NET])?;
        ip(&["-n", NET, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", NET, "link", "set", "br0", "up"])?;
        for pod in pods {
            let address = format!("{}/24", pod.address);
            ip(&["netns", "add", pod.netns])?;
            ip(&[
                "-n", NET, "link", "add", pod.cable, "type", "veth", "peer", "name", "eth0", "netns",
                pod.netns,
            ])?;
            ip(&["-n", NET, "link", "set", pod.cable, "master", "br0", "up"])?;
            ip(&["-n", pod.netns, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", pod.netns, "link", "set", "lo", "up"])?;
            ip(&["-n", pod.netns, "link", "set", "eth0", "up"])?;
        }
        Ok(world)
    }

    /// Kills this process when the world is dropped.
    pub fn hold(&mut self, process: Child) {
        self.processes.push(process);
    }

    /// Leaves everything running.
    pub fn release(mut self) {
        self.kept = true;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for process in &mut self.processes {
            end(process);
        }
        remove_namespaces();
    }
}

/// Removes what a killed or kept demo left: its agent, the pods' processes, the namespaces.
pub fn remove_leftovers() {
    for pid in agents() {
        kill(pid);
    }
    remove_namespaces();
}

fn remove_namespaces() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let inside = step::output(Command::new("ip").args(["netns", "pids", &name])).unwrap_or_default();
        inside.lines().filter_map(|pid| pid.trim().parse().ok()).for_each(kill);
        if let Err(error) = ip(&["netns", "delete", &name]) {
            eprintln!("cannot remove {name}: {error:#}");
        }
    }
}

/// Returns the process ids of agents that a demo started: portolan with the demo's node name.
fn agents() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_string_lossy().parse().ok()?;
            is_demo_agent(&entry.path()).then_some(pid)
        })
        .collect()
}

fn is_demo_agent(process: &Path) -> bool {
    let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|byte| *byte == 0).collect();
    let program = words.first().is_some_and(|word| word.ends_with(b"/portolan"));
    program && words.contains(&NODE.as_bytes())
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())
}
