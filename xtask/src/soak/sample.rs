//! Reads the agent's numbers: memory, descriptors and threads from /proc, kernel objects from bpftool, tables and losses from its
//! status.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::cluster::PREFIX;
use super::drift::{Others, Sample};
use crate::step;

/// Takes a full sample. `status`: the answer to `/v1/status`; `own`: the number of listeners that the agent lists for the
/// soak's pods.
///
/// # Errors
/// If the agent has ended, or bpftool fails.
pub fn full(pid: u32, at: Duration, status: &Value, own: u64) -> Result<Sample> {
    let mut sample = quick(pid, at)?;
    let numbers = &mut sample.numbers;
    numbers.extend(kernel_objects(pid)?);
    let mut take = |prefix: &str, object: Option<&Value>, field: Option<&str>| {
        for (name, value) in object.and_then(Value::as_object).into_iter().flatten() {
            let value = field.map_or(Some(value), |field| value.get(field));
            numbers.insert(format!("{prefix}{name}"), value.and_then(Value::as_u64).unwrap_or_default());
        }
    };
    take("table ", status.get("limits"), Some("used"));
    take("lost ", status.get("lost"), None);
    for name in ["namespaces", "listeners"] {
        let number =
            status.get(name).and_then(Value::as_u64).with_context(|| format!("the status has no {name}"))?;
        numbers.insert(name.to_owned(), number);
    }
    let listeners = numbers.get("listeners").copied().unwrap_or_default();
    sample.others = Others {
        namespaces: namespaces(|name| !name.starts_with(PREFIX)),
        listeners: listeners - own.min(listeners),
    };
    Ok(sample)
}

/// Takes a sample of what /proc has at once.
///
/// # Errors
/// If the agent has ended.
pub fn quick(pid: u32, at: Duration) -> Result<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the agent has ended")?;
    let mut numbers = BTreeMap::new();
    for (field, name, unit) in [
        ("VmRSS:", "resident memory", 1024),
        ("RssAnon:", "anonymous memory", 1024),
        ("Threads:", "threads", 1),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        numbers.insert(name.to_owned(), number.with_context(|| format!("no {field} in /proc"))? * unit);
    }
    let descriptors = descriptors(pid)?;
    numbers.insert("descriptors".to_owned(), descriptors.values().sum());
    for (kind, count) in descriptors {
        numbers.insert(format!("descriptors: {kind}"), count);
    }
    Ok(Sample { at, numbers, others: Others::default() })
}

/// Counts the descriptors by what they refer to.
fn descriptors(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).context("the agent has ended")?.flatten() {
        // One that was closed since is none.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        *counts.entry(kind(&target.to_string_lossy()).to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Returns what the target of a link in /proc/PID/fd is, without its number or path.
fn kind(target: &str) -> &str {
    if let Some(kind) = target.strip_prefix("anon_inode:") {
        return kind.trim_matches(['[', ']']);
    }
    match target.split_once(":[") {
        Some((kind, _)) => kind,
        None if target.starts_with("/run/netns/") => "net",
        None => "file",
    }
}

/// Returns all programs in the kernel. `None`: bpftool is missing or fails.
pub fn programs() -> Option<Vec<Value>> {
    let listed = step::output(Command::new("bpftool").args(["--json", "prog", "show"]))?;
    serde_json::from_str(&listed).ok()
}

/// Counts the kernel objects that the agent holds, by /proc/PID/fdinfo and bpftool: links, programs, also those that only a
/// link holds, and maps, also those that only a program holds.
fn kernel_objects(pid: u32) -> Result<BTreeMap<String, u64>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let held: Vec<String> = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
    let own = ids(&held, "prog_id:");
    let listed = programs().context("bpftool shows no programs")?;
    let maps = ids(&held, "map_id:").union(&maps_of(&listed, &own)).count();
    Ok(BTreeMap::from([
        ("kernel links".to_owned(), ids(&held, "link_id:").len() as u64),
        ("kernel programs".to_owned(), own.len() as u64),
        ("kernel maps".to_owned(), maps as u64),
    ]))
}

/// Returns the ids in this field of any of the files.
fn ids(files: &[String], field: &str) -> BTreeSet<u64> {
    let lines = files.iter().flat_map(|file| file.lines());
    lines.filter_map(|line| line.strip_prefix(field)?.trim().parse().ok()).collect()
}

/// Returns the maps of these programs, from bpftool's list of all programs.
fn maps_of(listed: &[Value], programs: &BTreeSet<u64>) -> BTreeSet<u64> {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    let own =
        listed.iter().filter(|program| number(program.get("id")).is_some_and(|id| programs.contains(&id)));
    let maps = own.flat_map(|program| program.get("map_ids").and_then(Value::as_array).into_iter().flatten());
    maps.filter_map(Value::as_u64).collect()
}

/// Returns the inodes of the network namespaces that have a name for which `counts` is true, or a process and no other name.
pub fn namespaces(counts: impl Fn(&str) -> bool) -> BTreeSet<u64> {
    let mut with_process = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            with_process.extend(std::fs::metadata(entry.path().join("ns/net")).map(|netns| netns.ino()));
        }
    }
    let mut named = BTreeSet::new();
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let Ok(inode) = std::fs::metadata(entry.path()).map(|netns| netns.ino()) else { continue };
        with_process.remove(&inode);
        if counts(&entry.file_name().to_string_lossy()) {
            named.insert(inode);
        }
    }
    named.union(&with_process).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_named_by_their_kind() {
        let named =
            ["anon_inode:bpf-map", "anon_inode:[eventpoll]", "socket:[123]", "net:[4026]", "/dev/null"]
                .map(kind);
        assert_eq!(named, ["bpf-map", "eventpoll", "socket", "net", "file"]);
        assert_eq!(kind("/run/netns/ptl-soak-pod-1"), "net");
    }

    #[test]
    fn kernel_objects_are_counted_once() {
        let files = [
            "pos:\t0\nlink_type:\ttcx\nlink_id:\t4\nprog_id:\t10\n",
            "prog_type:\t6\nprog_id:\t10\n",
            "map_id:\t5\n",
        ];
        let files = files.map(str::to_owned);
        assert_eq!(ids(&files, "prog_id:"), [10].into());
        assert_eq!((ids(&files, "link_id:"), ids(&files, "map_id:")), ([4].into(), [5].into()));
        let listed = r#"[{"id":10,"map_ids":[5,6]},{"id":11,"map_ids":[7]},{"id":10}]"#;
        let listed: Vec<Value> = serde_json::from_str(listed).expect("json");
        assert_eq!(maps_of(&listed, &[10].into()), [5, 6].into());
    }

    #[test]
    fn memory_threads_and_descriptors_of_a_process_are_read() {
        let sample = quick(std::process::id(), Duration::ZERO).expect("this process runs");
        assert!(sample.numbers["resident memory"] > 1 << 20, "{sample:?}");
        assert!(sample.numbers["threads"] >= 1 && sample.numbers["descriptors"] >= 3, "{sample:?}");
    }
}
