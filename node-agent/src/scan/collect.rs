//! Lists the sockets that serve in every netns once, without kernel programs. A few threads share the netns, and hand over each
//! one once the owners of its sockets are known. Sockets that no process of their own netns holds wait for one walk over all
//! processes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Builder};

use portolan_engine::model::identity::{BootTime, NetnsId, Protocol};
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::socket::NetnsScan;

use crate::source::clock;
use crate::source::netns::candidates::{self, Candidate};
use crate::source::netns::enter::HomeNetns;
use crate::source::netns::{HostNetns, NetnsOptions, look};
use crate::source::process::owners::{SearchScope, SocketOwners};
use crate::source::scan::{ListedSocket, listed_sockets};

/// Maximum number of threads. More threads would wait for each other at the locks of the kernel's tables.
const MAX_THREADS: usize = 4;
/// Minimum number of netns per thread.
const NETNS_PER_THREAD: usize = 8;

/// One netns that could be entered.
#[derive(Clone, Debug)]
pub struct CollectedNetns {
    pub facts: NetnsFacts,
    /// The sockets; `None` for those of the host's netns unless requested.
    pub scan: Option<NetnsScan>,
}

/// What a scan could not read.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
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

/// Reads every netns once, on new threads, because setns changes the calling thread. Sends each netns to `found`, in the order
/// of inodes; those with sockets that wait for the walk over all processes come last. `host` decides what is read of the host's
/// netns, and may be set later. Ends early if the receiver is gone.
///
/// # Errors
/// If /proc is not readable or no thread can be started.
pub fn collect(
    options: &NetnsOptions,
    host: &OnceLock<HostNetns>,
    found: &SyncSender<CollectedNetns>,
) -> io::Result<Gaps> {
    let home = HomeNetns::of_this_thread()?;
    let mut walk = candidates::walk(&options.proc_root, &options.dirs, home.nsfs);
    walk.found.entry(home.inode).or_default();
    let task = Task {
        options,
        host,
        host_inode: candidates::host_inode(&options.proc_root, home.inode),
        candidates: walk.found.into_iter().collect(),
        next: AtomicUsize::new(0),
        ready: Mutex::new(Ready { next: 0, waiting: BTreeMap::new(), found }),
    };
    let mut gaps = Gaps {
        unreadable: walk.unreadable,
        walk_failure: walk.failure.map(|error| error.to_string()),
        ..Gaps::default()
    };
    let mut deferred = Vec::new();
    for share in read_all(&task)? {
        gaps.failed.extend(share.failed);
        gaps.unparsable += share.unparsable;
        deferred.extend(share.deferred);
    }
    gaps.failed.sort_by_key(|failed| failed.inode);
    // If the receiver is gone, nobody needs them.
    let _sent = send_deferred(options, deferred, found);
    Ok(gaps)
}

/// Finds the owners that only a walk over all processes finds, and sends the netns that waited for it.
fn send_deferred(
    options: &NetnsOptions,
    mut deferred: Vec<Deferred>,
    found: &SyncSender<CollectedNetns>,
) -> Result<(), SendError<CollectedNetns>> {
    let mut owners = SocketOwners::new(&options.proc_root);
    for netns in &mut deferred {
        owners.merge(std::mem::replace(&mut netns.owners, SocketOwners::new(&options.proc_root)));
    }
    let sockets = deferred.iter().flat_map(|netns| netns.listed.sockets());
    let scope = SearchScope { near: &[], netns: None, is_host: true, now: clock::now(), may_walk: true };
    owners.find_new(sockets, scope);
    // The order must not depend on the number of threads.
    deferred.sort_by_key(|netns| netns.index);
    deferred.into_iter().try_for_each(|netns| found.send(netns.listed.with_owners(&owners)))
}

/// Work that the threads share.
struct Task<'a> {
    options: &'a NetnsOptions,
    host: &'a OnceLock<HostNetns>,
    host_inode: u64,
    candidates: Vec<(u64, Candidate)>,
    /// Index of the next candidate that no thread has taken.
    next: AtomicUsize,
    ready: Mutex<Ready<'a>>,
}

impl Task<'_> {
    /// Hands over the candidate with this index, `None` if there is nothing to hand over now.
    fn finish(&self, index: usize, netns: Option<CollectedNetns>) -> Result<(), SendError<CollectedNetns>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).finish(index, netns)
    }
}

/// Sends the netns in the order of the candidates, whichever thread is done first.
struct Ready<'a> {
    /// Index of the candidate that is sent next.
    next: usize,
    /// The candidates that are done before an earlier one.
    waiting: BTreeMap<usize, Option<CollectedNetns>>,
    found: &'a SyncSender<CollectedNetns>,
}

impl Ready<'_> {
    fn finish(
        &mut self,
        index: usize,
        netns: Option<CollectedNetns>,
    ) -> Result<(), SendError<CollectedNetns>> {
        self.waiting.insert(index, netns);
        while let Some(netns) = self.waiting.remove(&self.next) {
            self.next += 1;
            netns.map_or(Ok(()), |netns| self.found.send(netns))?;
        }
        Ok(())
    }
}

/// Result of one thread, beside the netns that it handed over.
#[derive(Default)]
struct Share {
    deferred: Vec<Deferred>,
    failed: Vec<FailedNetns>,
    unparsable: usize,
}

/// A netns with sockets whose owners only a walk over all processes finds.
struct Deferred {
    /// Index of the candidate.
    index: usize,
    listed: Listed,
    /// The owners that were found already.
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

    fn with_owners(self, owners: &SocketOwners) -> CollectedNetns {
        let netns: NetnsId = self.facts.netns;
        let scan = self.scan.map(|(at, sockets)| {
            let named = sockets.iter().map(|socket| socket.in_netns(netns, owners.holder(socket)));
            NetnsScan { netns, at, sockets: named.collect() }
        });
        CollectedNetns { facts: self.facts, scan }
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

/// Reads candidates until none is left, or nobody receives them any more.
fn read_share(task: &Task<'_>) -> io::Result<Share> {
    let home = HomeNetns::of_this_thread()?;
    let mut share = Share::default();
    loop {
        let index = task.next.fetch_add(1, Ordering::Relaxed);
        let Some((inode, candidate)) = task.candidates.get(index) else { return Ok(share) };
        let netns = match read_netns(task, &home, *inode, candidate) {
            Ok(listed) => find_owners(task, index, listed, &mut share),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let (inode, candidate) = (*inode, candidate.clone());
                share.failed.push(FailedNetns { inode, candidate, reason: error.to_string() });
                None
            }
        };
        if task.finish(index, netns).is_err() {
            return Ok(share);
        }
    }
}

/// Finds the owners among the processes of the candidate. Returns `None`, and defers the netns, if sockets are left.
fn find_owners(task: &Task<'_>, index: usize, listed: Listed, share: &mut Share) -> Option<CollectedNetns> {
    let (inode, candidate) = task.candidates.get(index)?;
    share.unparsable += listed.unparsable;
    let mut owners = SocketOwners::new(&task.options.proc_root);
    let scope = SearchScope {
        near: &candidate.pids,
        netns: Some(*inode),
        is_host: *inode == task.host_inode,
        now: clock::now(),
        may_walk: false,
    };
    if owners.find_new(listed.sockets(), scope).is_put_off {
        share.deferred.push(Deferred { index, listed, owners });
        return None;
    }
    Some(listed.with_owners(&owners))
}

/// Reads one netns: enters it if needed, and lists its sockets unless only facts of the host's are needed.
fn read_netns(task: &Task<'_>, home: &HomeNetns, inode: u64, candidate: &Candidate) -> io::Result<Listed> {
    let is_host = inode == task.host_inode;
    let is_scanned = !is_host || *task.host.wait() != HostNetns::FactsOnly;
    let _visit = if inode == home.inode {
        None
    } else {
        Some(home.enter_any(candidate.entry_paths(&task.options.proc_root), inode)?)
    };
    let mut facts = look::facts(inode, candidate.paths.clone(), is_host)?;
    let at = clock::now();
    let list = if is_scanned { Some(listed_sockets()?) } else { None };
    let (unparsable, sockets) = list.map_or((0, None), |list| (list.unparsable, Some(list.sockets)));
    // Only UDP sockets are judged by it, and few netns have one.
    if sockets.iter().flatten().any(|socket| socket.protocol == Protocol::Udp) {
        facts.ephemeral_ports = look::read_ephemeral_ports();
    }
    Ok(Listed { facts, scan: sockets.map(|sockets| (at, sockets)), unparsable })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn netns_are_sent_in_the_order_of_the_candidates_whichever_is_done_first() {
        let netns = |inode: u64| {
            let (netns, ephemeral_ports) = (NetnsId(inode), (1, 2));
            let (paths, addresses) = (Vec::new(), Vec::new());
            let facts = NetnsFacts {
                netns,
                inode,
                paths,
                is_host: false,
                addresses,
                has_guest: false,
                ephemeral_ports,
            };
            CollectedNetns { facts, scan: None }
        };
        let (sender, found) = sync_channel(4);
        let mut ready = Ready { next: 0, waiting: BTreeMap::new(), found: &sender };
        for (index, found) in [(2, Some(12)), (1, Some(11)), (0, None), (3, Some(13))] {
            ready.finish(index, found.map(netns)).expect("the receiver lives");
        }
        let sent: Vec<u64> = found.try_iter().map(|netns| netns.facts.inode).collect();
        assert_eq!(sent, [11, 12, 13]);
        drop(found);
        assert!(ready.finish(4, Some(netns(14))).is_err());
    }
}
