//! The processes of the node as /proc shows them: the facts of one process by pid, and which process holds a socket.

mod descriptors;
mod holder_search;
pub mod owners;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use portolan_engine::model::process::Process;
use rustix::fs::{Mode, OFlags, open, openat, readlinkat};

/// Size of the buffer for a file of /proc, in bytes. Few are larger.
const FILE_BYTES: usize = 1024;
/// Maximum length of an executable path or cgroup, in bytes.
const MAX_PATH: usize = 1024;

/// Reads the facts of process `pid`. Returns `None` if the process is gone, or did not start at `started` (clock ticks
/// since boot: field 22 of /proc/PID/stat).
#[must_use]
pub fn read_process(proc_root: &Path, pid: u32, started: Option<u64>) -> Option<Process> {
    let dir = proc_root.join(pid.to_string());
    let name = fs::read(dir.join("comm")).ok()?;
    let executable = fs::read_link(dir.join("exe")).ok().map(|path| truncated(&path.to_string_lossy()));
    let cgroup = fs::read_to_string(dir.join("cgroup")).ok().and_then(|text| cgroup_path(&text));
    // Checked last, so that everything above belongs to the same process.
    if let Some(started) = started
        && start_time(proc_root, pid) != Some(started)
    {
        return None;
    }
    let name = truncated(String::from_utf8_lossy(&name).trim_end_matches('\n'));
    Some(Process { pid, name, executable, cgroup })
}

/// Reads the facts of process `pid`, and when it started, in clock ticks since boot. `None` if the process is gone.
fn read_with_start(proc_root: &Path, pid: u32) -> Option<(Process, u64)> {
    // What is read below the open directory belongs to one process: a later one with the same pid has another directory.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(proc_root.join(pid.to_string()), flags, Mode::empty()).ok()?;
    let (mut name, started) = read_stat(&read_below(&dir, c"stat")?)?;
    // The kernel escapes newlines and backslashes there.
    if name.contains('\\') {
        let text = read_below(&dir, c"comm")?;
        name = truncated(String::from_utf8_lossy(&text).trim_end_matches('\n'));
    }
    let executable = readlinkat(&dir, c"exe", Vec::new()).ok();
    let executable = executable.map(|path| truncated(&path.to_string_lossy()));
    let cgroup = read_below(&dir, c"cgroup").and_then(|text| cgroup_path(&String::from_utf8(text).ok()?));
    // Some processes have neither. Others ended meanwhile.
    if executable.is_none() || cgroup.is_none() {
        read_below(&dir, c"stat")?;
    }
    Some((Process { pid, name, executable, cgroup }, started))
}

fn read_below(dir: &OwnedFd, name: &CStr) -> Option<Vec<u8>> {
    let mut file = File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?);
    let mut text = Vec::with_capacity(FILE_BYTES);
    file.read_to_end(&mut text).ok()?;
    Some(text)
}

/// Returns when `pid` started, in clock ticks since boot.
#[must_use]
pub fn start_time(proc_root: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read(proc_root.join(format!("{pid}/stat"))).ok()?;
    read_stat(&stat).map(|(_, started)| started)
}

/// Parses name and start time of /proc/PID/stat. Newlines and backslashes of the name are escaped.
fn read_stat(stat: &[u8]) -> Option<(String, u64)> {
    let stat = String::from_utf8_lossy(stat);
    // The name is in parentheses and may itself contain spaces and parentheses.
    let (start, fields) = stat.rsplit_once(')')?;
    let (_, name) = start.split_once('(')?;
    Some((truncated(name), fields.split_whitespace().nth(19)?.parse().ok()?))
}

/// Returns the path of the cgroup v2 line (`0::PATH`) unless it is only the root, else the longest path of the v1
/// lines.
fn cgroup_path(text: &str) -> Option<String> {
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| *path != "/");
    let unified = text.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| *path != "/");
    unified.or_else(|| paths().max_by_key(|path| path.len())).map(truncated)
}

/// Returns the cgroups of the node's processes, each once; of those that may be read.
#[must_use]
pub fn cgroups(proc_root: &Path) -> BTreeSet<String> {
    let pids = pids(proc_root).unwrap_or_default();
    let texts =
        pids.into_iter().filter_map(|pid| fs::read_to_string(proc_root.join(format!("{pid}/cgroup"))).ok());
    texts.filter_map(|text| cgroup_path(&text)).collect()
}

fn truncated(text: &str) -> String {
    text.chars()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= MAX_PATH).then_some(c)
        })
        .collect()
}

/// Returns the descriptors of process `pid` that are sockets; none if the process is gone or may not be read.
#[must_use]
pub fn sockets_of(proc_root: &Path, pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    // What was read before an error is used.
    let _read = descriptors::each_socket(proc_root, pid, |_, descriptor| found.push(descriptor));
    found
}

/// Lists the processes, ascending in a /proc of the kernel.
///
/// # Errors
/// When /proc cannot be read.
fn pids(proc_root: &Path) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(proc_root)?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let pid = std::process::id();
        let proc_root = Path::new("/proc");
        let started = start_time(proc_root, pid).expect("stat");
        assert!(read_process(proc_root, pid, Some(started)).is_some());
        assert!(read_process(proc_root, pid, Some(started + 1)).is_none());
        let read = read_with_start(proc_root, pid).expect("the own process");
        assert_eq!(read, (read_process(proc_root, pid, None).expect("the own process"), started));
        assert!(read_with_start(proc_root, u32::MAX).is_none());
    }

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = format!("7 (a) (b c) S {}77 0", "1 ".repeat(18));
        assert_eq!(read_stat(stat.as_bytes()), Some(("a) (b c".to_owned(), 77)));
        assert_eq!(read_stat(b"7 (a) S 1"), None);
    }

    /// The kernel escapes a backslash in `stat` and not in `comm`.
    #[test]
    fn a_name_is_the_same_whichever_way_it_is_read() {
        let scratch = portolan_testing::scratch::Scratch::new("process-name");
        let program = scratch.directory().join("a\\b");
        fs::copy("/bin/sleep", &program).expect("a copy");
        let mut child = std::process::Command::new(&program).arg("60").spawn().expect("a process");
        let proc_root = Path::new("/proc");
        let read = read_with_start(proc_root, child.id()).map(|(process, _)| process.name);
        let expected = read_process(proc_root, child.id(), None).map(|process| process.name);
        child.kill().and_then(|()| child.wait()).expect("its end");
        assert_eq!((read.as_deref(), expected.as_deref()), (Some("a\\b"), Some("a\\b")));
    }

    #[test]
    fn cgroup_files_of_both_versions_give_the_path_that_says_most() {
        assert_eq!(cgroup_path("0::/kubepods/a\n").as_deref(), Some("/kubepods/a"));
        assert_eq!(
            cgroup_path("5:pids:/kubepods/b\n1:name=systemd:/x\n0::/\n").as_deref(),
            Some("/kubepods/b")
        );
        assert_eq!(cgroup_path("0::/\n"), None);
        assert_eq!(cgroup_path("nonsense"), None);
    }
}
