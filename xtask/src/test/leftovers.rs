//! Finds what tests may leave behind on the machine: namespaces, interfaces, mounts, processes and kernel programs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::step;
use crate::stopwatch::Stopwatch;

/// Maximum time that the kernel may take to release closed objects.
const SETTLE: Duration = Duration::from_secs(10);
/// Parts of names: every namespace, interface and program of this project has one of them.
const OURS: [&str; 4] = ["portolan", "ptl-", "tier-", "netns-"];
/// Prefix of kernel objects in the list.
const KERNEL: &str = "kernel ";

/// The project's objects on this machine at one moment, by kind and name.
#[derive(Debug, Default)]
pub struct Leftovers {
    all: BTreeSet<String>,
    /// True if an agent runs that this command did not start. The owner of a kernel program is then unknown.
    is_shared: bool,
}

impl Leftovers {
    /// Lists the objects that exist now.
    pub fn look() -> Self {
        let mut all = BTreeSet::new();
        all.extend(names_in("/run/netns").map(|name| format!("network namespace {name}")));
        all.extend(names_in("/sys/class/net").map(|name| format!("interface {name}")));
        all.extend(mounts());
        let agents = agents();
        let is_own = |pid: &u32| session_of(*pid) == session_of(std::process::id());
        all.extend(agents.iter().filter(|pid| is_own(pid)).map(|pid| format!("process {pid} (portolan)")));
        all.extend(kernel_objects("prog"));
        all.extend(kernel_objects("link"));
        Self { all, is_shared: !agents.iter().all(is_own) }
    }

    /// Returns the objects that exist now and did not exist `before`. Waits for objects to disappear.
    pub fn settle(before: &Self) -> Vec<String> {
        let since = Stopwatch::start();
        loop {
            let now = Self::look();
            let is_shared = now.is_shared || before.is_shared;
            let counts = |thing: &&String| !is_shared || !thing.starts_with(KERNEL);
            let left: Vec<String> = now.all.difference(&before.all).filter(counts).cloned().collect();
            if left.is_empty() || since.elapsed() > SETTLE {
                return left;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| name.contains(ours))
}

fn names_in(directory: &str) -> impl Iterator<Item = String> {
    std::fs::read_dir(Path::new(directory))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_ours(name))
}

fn mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| is_ours(point)).map(|point| format!("mount {point}")).collect()
}

/// Returns the process ids of all agents on this machine.
pub fn agents() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_string_lossy().parse::<u32>().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            (name.trim() == "portolan").then_some(pid)
        })
        .collect()
}

/// Returns the session of a process. Every process that a test starts inherits it.
fn session_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name can contain anything and ends with the last parenthesis. Then follow: state, parent, group, session.
    status.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

/// Returns this project's kernel programs or links. Empty if bpftool is missing.
fn kernel_objects(kind: &str) -> Vec<String> {
    let Some(text) = step::output(Command::new("bpftool").args(["--json", kind, "show"])) else {
        return Vec::new();
    };
    let Ok(objects) = serde_json::from_str::<Vec<serde_json::Value>>(&text) else { return Vec::new() };
    objects
        .iter()
        .filter(|object| kind == "link" || object.get("name").and_then(|n| n.as_str()).is_some_and(is_ours))
        .filter_map(|object| {
            let name =
                object.get("name").or_else(|| object.get("type")).and_then(|n| n.as_str()).unwrap_or("");
            Some(format!("{KERNEL}{kind} {} {name}", object.get("id")?))
        })
        .collect()
}
