//! Lists the sockets that serve in every netns once, without kernel programs. A few threads share the netns. Then one walk
//! over all processes finds the owners of sockets that no process of their own netns holds.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::socket::NetnsScan;

use crate::source::clock;
use crate::source::netns::candidates::{self, Candidate};
use crate::source::netns::enter::HomeNetns;
use crate::source::netns::look::facts;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::process::owners::{SearchScope, SocketOwners};
use crate::source::scan::{ListedSocket, listed_sockets};

/// Maximum number of threads. More threads would wait for each other at the locks of the kernel's tables.
const MAX_THREADS: usize = 4;
/// Minimum number of netns per thread.
const NETNS_PER_THREAD: usize = 8;

/// Result of one scan.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Every netns that could be entered, with its sockets; `None` for the sockets of the host's netns unless requested.
    pub netns: Vec<(NetnsFacts, Option<NetnsScan>)>,
    /// Every netns that could not be entered, by inode: the scan is partial.
    pub failed: Vec<FailedNetns>,
    /// Number of processes whose netns may not be read. A nameless netns that has only such processes is missing.
    pub unreadable: usize,
    /// Why the list of netns is incomplete, if so.
    pub walk_failure: Option<String>,
    /// Number of objects in the kernel's socket lists that do not parse.
    pub unparsable: usize,
}

/// A netns that could not be read.
#[derive(Debug, Clone)]
pub struct FailedNetns {
    pub inode: u64,
    pub candidate: Candidate,
    pub reason: String,
}

/// Reads every netns once, on new threads, because setns changes the calling thread.
///
/// # Errors
/// If /proc is not readable or no thread can be started.
pub fn collect(options: &NetnsOptions) -> io::Result<Collected> {
    let home = HomeNetns::of_this_thread()?;
    let mut walk = candidates::walk(&options.proc_root, &options.dirs, home.nsfs);
    walk.found.entry(home.inode).or_default();
    let task = Task {
        options,
        host_inode: candidates::host_inode(&options.proc_root, home.inode),
        candidates: walk.found.into_iter().collect(),
        next: AtomicUsize::new(0),
    };
    let mut shares = read_all(&task)?;
    let mut owners = SocketOwners::new(&options.proc_root);
    for share in &mut shares {
        owners.merge(std::mem::replace(&mut share.owners, SocketOwners::new(&options.proc_root)));
    }
    let sockets = shares.iter().flat_map(|share| &share.listed).flat_map(|(_, listed)| listed.sockets());
    let scope = SearchScope { near: &[], netns: None, is_host: true, now: clock::now(), may_walk: true };
    owners.find_new(sockets, scope);
    let mut listed = Vec::with_capacity(task.candidates.len());
    let mut failed = Vec::new();
    for share in shares {
        listed.extend(share.listed);
        failed.extend(share.failed);
    }
    // The order must not depend on the number of threads.
    listed.sort_by_key(|(index, _)| *index);
    failed.sort_by_key(|failed: &FailedNetns| failed.inode);
    let unparsable = listed.iter().map(|(_, listed)| listed.unparsable).sum();
    let netns = listed.into_iter().map(|(_, listed)| listed.with_owners(&owners));
    Ok(Collected {
        netns: netns.collect(),
        failed,
        unreadable: walk.unreadable,
        walk_failure: walk.failure.map(|error| error.to_string()),
        unparsable,
    })
}

/// Work that the threads share.
struct Task<'a> {
    options: &'a NetnsOptions,
    host_inode: u64,
    candidates: Vec<(u64, Candidate)>,
    /// Index of the next candidate that no thread has taken.
    next: AtomicUsize,
}

/// Result of one thread.
struct Share {
    /// By index of the candidate.
    listed: Vec<(usize, Listed)>,
    failed: Vec<FailedNetns>,
    owners: SocketOwners,
}

/// One netns, before the owners of its sockets are known.
struct Listed {
    facts: NetnsFacts,
    scan: Option<(BootTime, Vec<ListedSocket>)>,
    unparsable: usize,
}

impl Listed {
    fn sockets(&self) -> impl Iterator<Item = &ListedSocket> {
        self.scan.iter().flat_map(|(_, sockets)| sockets)
    }

    fn with_owners(self, owners: &SocketOwners) -> (NetnsFacts, Option<NetnsScan>) {
        let netns: NetnsId = self.facts.netns;
        let scan = self.scan.map(|(at, sockets)| {
            let named = sockets.iter().map(|socket| socket.in_netns(netns, owners.holder(socket)));
            NetnsScan { netns, at, sockets: named.collect() }
        });
        (self.facts, scan)
    }
}

/// Reads all candidates on several threads. Returns one share per thread.
fn read_all(task: &Task<'_>) -> io::Result<Vec<Share>> {
    let useful = task.candidates.len().div_ceil(NETNS_PER_THREAD).clamp(1, MAX_THREADS);
    let threads = thread::available_parallelism().map_or(1, |cpus| cpus.get().min(useful));
    thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..threads {
            let thread = Builder::new().name("scan".to_owned()).spawn_scoped(scope, || read_share(task));
            match thread {
                Ok(thread) => running.push(thread),
                Err(error) if running.is_empty() => return Err(error),
                // The running threads take the candidates that this one would have taken.
                Err(_) => break,
            }
        }
        let panicked = |_| Err(io::Error::other("a scan thread panicked"));
        running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

/// Reads candidates until none is left.
fn read_share(task: &Task<'_>) -> io::Result<Share> {
    let home = HomeNetns::of_this_thread()?;
    let mut share =
        Share { listed: Vec::new(), failed: Vec::new(), owners: SocketOwners::new(&task.options.proc_root) };
    loop {
        let index = task.next.fetch_add(1, Ordering::Relaxed);
        let Some((inode, candidate)) = task.candidates.get(index) else { return Ok(share) };
        match read_netns(task, &home, *inode, candidate) {
            Ok(listed) => {
                let (near, netns) = (candidate.pids.as_slice(), Some(*inode));
                let scope = SearchScope {
                    near,
                    netns,
                    is_host: *inode == task.host_inode,
                    now: clock::now(),
                    may_walk: false,
                };
                share.owners.find_new(listed.sockets(), scope);
                share.listed.push((index, listed));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let (inode, candidate) = (*inode, candidate.clone());
                share.failed.push(FailedNetns { inode, candidate, reason: error.to_string() });
            }
        }
    }
}

/// Reads one netns: enters it if needed, and lists its sockets unless only facts of the host's are needed.
fn read_netns(task: &Task<'_>, home: &HomeNetns, inode: u64, candidate: &Candidate) -> io::Result<Listed> {
    let _visit = if inode == home.inode {
        None
    } else {
        Some(home.enter_any(candidate.entry_paths(&task.options.proc_root), inode)?)
    };
    let is_host = inode == task.host_inode;
    let facts = facts(inode, candidate.paths.clone(), is_host)?;
    let at = clock::now();
    let is_scanned = !is_host || task.options.host != HostNetns::FactsOnly;
    let list = if is_scanned { Some(listed_sockets()?) } else { None };
    let unparsable = list.as_ref().map_or(0, |list| list.unparsable);
    Ok(Listed { facts, scan: list.map(|list| (at, list.sockets)), unparsable })
}
