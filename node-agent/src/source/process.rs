//! Finds which process holds a socket, by the descriptors of the processes in its netns and then by one walk over all
//! of /proc, and reads the facts of one process by pid. Remembers owners by socket inode and cookie, so that only new
//! sockets cause a walk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_engine::model::identity::SocketCookie;
use portolan_engine::model::process::{Holder, Process};
use rustix::fs::{Dir, Mode, OFlags, open, readlinkat_raw};

use super::scan::ListedSocket;

/// Maximum length of an executable path or cgroup, in bytes.
const MAX_PATH: usize = 1024;
/// Maximum number of walks for the owner of one socket: a socket may have no owner (in flight over SCM_RIGHTS).
const MAX_TRIES: u8 = 3;

/// Inode and cookie of a socket; the cookie guards against reused inode numbers.
type SocketKey = (u32, SocketCookie);

/// A process and its start time, since pids are reused.
#[derive(Debug)]
struct Owner {
    process: Process,
    started: Option<u64>,
}

/// The known owners of sockets.
#[derive(Debug)]
pub struct SocketOwners {
    proc_root: PathBuf,
    /// Sockets of one process share one entry.
    known: BTreeMap<SocketKey, Arc<Owner>>,
    tried: BTreeMap<SocketKey, u8>,
}

impl SocketOwners {
    /// Creates an empty set that reads under `proc_root` (`/proc`).
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self { proc_root: proc_root.to_owned(), known: BTreeMap::new(), tried: BTreeMap::new() }
    }

    /// Returns the owner of `socket`, if an earlier walk found it.
    #[must_use]
    pub fn owner(&self, socket: &ListedSocket) -> Option<&Process> {
        self.known.get(&(socket.inode, socket.cookie)).map(|owner| &owner.process)
    }

    /// Returns who holds `socket`, as far as earlier walks found it.
    #[must_use]
    pub fn holder(&self, socket: &ListedSocket) -> Holder {
        self.owner(socket).cloned().map_or(Holder::Unknown, Holder::Process)
    }

    /// Returns the number of remembered sockets.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len() + self.tried.len()
    }

    /// Forgets the owners of these sockets that have ended: another process may hold their sockets now, as after a
    /// daemon forks and its parent exits.
    pub fn forget_ended<'a>(&mut self, sockets: impl IntoIterator<Item = &'a ListedSocket>) {
        let mut alive: BTreeMap<u32, bool> = BTreeMap::new();
        for key in sockets.into_iter().map(|socket| (socket.inode, socket.cookie)) {
            let Some(owner) = self.known.get(&key) else { continue };
            let (pid, started) = (owner.process.pid, owner.started);
            let is_same = || start_time(&self.proc_root, pid).is_some_and(|now| Some(now) == started);
            if !*alive.entry(pid).or_insert_with(is_same) {
                self.known.remove(&key);
            }
        }
    }

    /// Finds the unknown owners. Searches the processes `near`, which are in the sockets' netns, and walks over all
    /// processes only for the sockets that those do not hold.
    pub fn find<'a>(&mut self, sockets: impl IntoIterator<Item = &'a ListedSocket>, near: &[u32]) {
        let mut wanted = self.wanted(sockets);
        self.walk(&mut wanted, near);
        if wanted.is_empty() {
            return;
        }
        let all = pids(&self.proc_root);
        self.walk(&mut wanted, &all);
        for key in wanted.into_values() {
            *self.tried.entry(key).or_default() += 1;
        }
    }

    /// Finds unknown owners among `near` only.
    pub fn find_among<'a>(&mut self, sockets: impl IntoIterator<Item = &'a ListedSocket>, near: &[u32]) {
        let mut wanted = self.wanted(sockets);
        self.walk(&mut wanted, near);
    }

    /// Adds the owners that `others` found.
    pub fn merge(&mut self, others: Self) {
        self.known.extend(others.known);
    }

    fn wanted<'a>(&self, sockets: impl IntoIterator<Item = &'a ListedSocket>) -> BTreeMap<u32, SocketKey> {
        let key = |socket: &ListedSocket| (socket.inode, socket.cookie);
        let keys = sockets.into_iter().map(key).filter(|key| {
            let tries = self.tried.get(key).copied().unwrap_or(0);
            key.0 != 0 && tries < MAX_TRIES && !self.known.contains_key(key)
        });
        keys.map(|key| (key.0, key)).collect()
    }

    /// Forgets all sockets but these.
    pub fn retain(&mut self, alive: &BTreeSet<SocketCookie>) {
        self.known.retain(|(_, cookie), _| alive.contains(cookie));
        self.tried.retain(|(_, cookie), _| alive.contains(cookie));
    }

    fn walk(&mut self, wanted: &mut BTreeMap<u32, SocketKey>, pids: &[u32]) {
        for &pid in pids {
            if wanted.is_empty() {
                return;
            }
            let held = held_sockets(&self.proc_root, pid, wanted);
            if held.is_empty() {
                continue;
            }
            let started = start_time(&self.proc_root, pid);
            let Some(process) = read_process(&self.proc_root, pid, started) else { continue };
            let owner = Arc::new(Owner { process, started });
            for inode in held {
                if let Some(key) = wanted.remove(&inode) {
                    self.tried.remove(&key);
                    self.known.insert(key, Arc::clone(&owner));
                }
            }
        }
    }
}

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

/// Returns when `pid` started, in clock ticks since boot.
#[must_use]
pub fn start_time(proc_root: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read(proc_root.join(format!("{pid}/stat"))).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name is in parentheses and may itself contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Returns the path of the cgroup v2 line (`0::PATH`) unless it is only the root, else the longest path of the v1
/// lines.
fn cgroup_path(text: &str) -> Option<String> {
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| *path != "/");
    let unified = text.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| *path != "/");
    unified.or_else(|| paths().max_by_key(|path| path.len())).map(truncated)
}

fn truncated(text: &str) -> String {
    text.chars()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= MAX_PATH).then_some(c)
        })
        .collect()
}

fn pids(proc_root: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(proc_root) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns which of the `wanted` sockets the process holds. Uses raw readlinkat on the open directory: this is the hot
/// loop of a scan.
fn held_sockets(proc_root: &Path, pid: u32, wanted: &BTreeMap<u32, SocketKey>) -> Vec<u32> {
    let mut held = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fds) = open(proc_root.join(format!("{pid}/fd")), flags, Mode::empty()) else { return held };
    let Ok(entries) = Dir::read_from(fds.as_fd()) else { return held };
    let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 64];
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_bytes().first() == Some(&b'.') {
            continue;
        }
        let Ok((target, _)) = readlinkat_raw(fds.as_fd(), name, &mut buffer) else { continue };
        if let Some(inode) = socket_inode(target).filter(|inode| wanted.contains_key(inode)) {
            held.push(inode);
        }
    }
    held
}

/// Parses `socket:[N]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::source::scan::listed_sockets;

    #[test]
    fn the_owner_of_an_own_socket_is_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let listed = listed_sockets().expect("sock_diag");
        let socket = listed.sockets.iter().find(|socket| socket.port.get() == port).expect("listed");
        let mut owners = SocketOwners::new(Path::new("/proc"));
        owners.find_among([socket], &[]);
        assert_eq!(owners.owner(socket), None);
        owners.find([socket], &[]);
        let owner = owners.owner(socket).expect("owner");
        assert_eq!(owner.pid, std::process::id());
        let mut near = SocketOwners::new(Path::new("/proc"));
        near.find_among([socket], &[std::process::id()]);
        assert_eq!(near.owner(socket), Some(owner));
        assert_eq!(owner.executable, std::env::current_exe().ok().map(|path| path.display().to_string()));
        owners.retain(&BTreeSet::new());
        assert_eq!(owners.owner(socket), None);
    }

    #[test]
    fn an_owner_that_ended_is_looked_for_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let listed = listed_sockets().expect("sock_diag");
        let socket = listed.sockets.iter().find(|socket| socket.port.get() == port).expect("listed");
        let mut owners = SocketOwners::new(Path::new("/proc"));
        owners.find_among([socket], &[std::process::id()]);
        owners.forget_ended([socket]);
        assert!(owners.owner(socket).is_some(), "it is alive");
        for owner in owners.known.values_mut() {
            let (process, started) = (owner.process.clone(), owner.started.map(|started| started + 1));
            *owner = Arc::new(Owner { process, started });
        }
        owners.forget_ended([socket]);
        assert_eq!(owners.owner(socket), None, "another process has this pid now");
        owners.find_among([socket], &[std::process::id()]);
        assert!(owners.owner(socket).is_some());
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let pid = std::process::id();
        let proc_root = Path::new("/proc");
        let started = start_time(proc_root, pid).expect("stat");
        assert!(read_process(proc_root, pid, Some(started)).is_some());
        assert!(read_process(proc_root, pid, Some(started + 1)).is_none());
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
