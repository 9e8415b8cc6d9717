//! One search for the processes that hold some sockets, and the rule that chooses among several holders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use portolan_engine::model::identity::SocketCookie;
use portolan_engine::model::process::Process;

use super::descriptors::{Unread, each_socket};
use super::{read_with_start, start_time};

/// First process of the node.
const FIRST_PID: u32 = 1;
/// `comm` of the service manager that opens sockets for services which start later.
const SERVICE_MANAGER: &str = "systemd";

/// A process and its start time in clock ticks since boot, since pids are reused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub process: Process,
    pub started: u64,
}

/// How good a holder of a socket is; the smallest is reported. The fields in their order are the rule:
///
/// 1. A process in the socket's own netns before one elsewhere: what created the socket for a pod, such as a runtime or
///    a plugin, is not what serves it. An ambient mesh's process is elsewhere too, and the only holder.
/// 2. A service manager (process 1, systemd) never before another holder: socket activation leaves the socket open in the
///    manager, and the service answers.
/// 3. The process that started first, then the lowest pid. Of one program (nginx, haproxy, PHP-FPM, a pre-forking
///    server) that is the master, which stays while workers come and go. Of several programs it is the one that
///    opened the socket: a child that runs another program (a script, a shell) mostly holds a socket because its parent
///    forgot to close it. During a reload the old master is reported until it closes the socket, then the new one.
///
/// A process that has ended and waits for its parent (zombie) holds no descriptors, so it is never a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_elsewhere: bool,
    is_manager: bool,
    started: u64,
    pid: u32,
}

/// A holder of a socket.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub owner: Arc<Owner>,
    /// Number of a descriptor of the socket.
    pub descriptor: u32,
    rank: Rank,
}

impl Held {
    /// True for a service manager: another process may serve the socket later, while the manager still holds it.
    pub const fn is_provisional(&self) -> bool {
        self.rank.is_manager
    }

    /// Replaces what is known of the same process.
    pub fn with_owner(&self, owner: Arc<Owner>) -> Self {
        let is_manager = is_manager(&owner.process);
        Self { owner, rank: Rank { is_manager, ..self.rank }, descriptor: self.descriptor }
    }
}

/// A socket whose holder is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub cookie: SocketCookie,
    /// Inode of the socket's netns; `None`: every process counts as being in it.
    pub netns: Option<u64>,
    /// True if process 1 may hold the socket: one of the host's netns.
    pub may_be_of_first: bool,
}

/// A search in progress.
#[derive(Debug)]
pub(super) struct HolderSearch<'a> {
    proc_root: &'a Path,
    /// By inode of the socket.
    wanted: &'a BTreeMap<u32, Wanted>,
    best: BTreeMap<u32, Held>,
    searched: BTreeSet<u32>,
    /// Latest start of a best holder, once every socket has one that only an earlier process can replace.
    settled: Option<u64>,
    /// Number of processes that ended before they were read; what they held may have passed to a child.
    pub vanished: usize,
    /// Number of processes that may not be read, process 1 excepted.
    pub forbidden: usize,
    /// True if process 1 may not be read, as some sandboxes and security modules have it.
    pub is_first_forbidden: bool,
}

impl<'a> HolderSearch<'a> {
    pub fn new(proc_root: &'a Path, wanted: &'a BTreeMap<u32, Wanted>) -> Self {
        let (best, searched) = (BTreeMap::new(), BTreeSet::new());
        Self {
            proc_root,
            wanted,
            best,
            searched,
            settled: None,
            vanished: 0,
            forbidden: 0,
            is_first_forbidden: false,
        }
    }

    /// Searches these processes, except those that were searched before and those that cannot be a better holder.
    pub fn walk(&mut self, pids: impl IntoIterator<Item = u32>) {
        if self.wanted.is_empty() {
            return;
        }
        for pid in pids {
            let is_later = |latest| start_time(self.proc_root, pid).is_none_or(|started| started > latest);
            if self.searched.insert(pid) && !self.settled.is_some_and(is_later) {
                self.search(pid);
            }
        }
    }

    /// Returns the best holder of each socket that has one, by inode of the socket.
    pub fn into_best(self) -> BTreeMap<u32, Held> {
        self.best
    }

    fn search(&mut self, pid: u32) {
        let mut found: BTreeMap<u32, u32> = BTreeMap::new();
        let read = each_socket(self.proc_root, pid, |inode, descriptor| {
            if self.wanted.contains_key(&inode) {
                found.entry(inode).or_insert(descriptor);
            }
        });
        match read {
            Err(Unread::Gone) => self.vanished += 1,
            Err(Unread::Forbidden) if pid == FIRST_PID => self.is_first_forbidden = true,
            Err(Unread::Forbidden) => self.forbidden += 1,
            Ok(()) => {}
        }
        if found.is_empty() {
            return;
        }
        let Some(owner) = read_owner(self.proc_root, pid) else {
            self.vanished += 1;
            return;
        };
        let netns = netns_of(self.proc_root, pid);
        let rank =
            Rank { is_elsewhere: false, is_manager: is_manager(&owner.process), started: owner.started, pid };
        for (inode, descriptor) in found {
            let own = self.wanted.get(&inode).and_then(|wanted| wanted.netns);
            let is_elsewhere = own.is_some_and(|own| netns.is_some_and(|netns| netns != own));
            let held = Held { owner: Arc::clone(&owner), descriptor, rank: Rank { is_elsewhere, ..rank } };
            let is_better = self.best.get(&inode).is_none_or(|best| held.rank < best.rank);
            if is_better {
                self.best.insert(inode, held);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        let is_final = |held: &Held| !held.rank.is_elsewhere && !held.rank.is_manager;
        let all = self.best.len() == self.wanted.len() && self.best.values().all(is_final);
        self.settled = if all { self.best.values().map(|held| held.rank.started).max() } else { None };
    }
}

/// Reads the facts of a process. `None` if it is gone.
pub(super) fn read_owner(proc_root: &Path, pid: u32) -> Option<Arc<Owner>> {
    let (process, started) = read_with_start(proc_root, pid)?;
    Some(Arc::new(Owner { process, started }))
}

fn is_manager(process: &Process) -> bool {
    process.pid == FIRST_PID || process.name == SERVICE_MANAGER
}

fn netns_of(proc_root: &Path, pid: u32) -> Option<u64> {
    fs::metadata(proc_root.join(format!("{pid}/ns/net"))).ok().map(|meta| meta.ino())
}
