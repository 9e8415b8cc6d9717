//! Network namespaces: which exist, their addresses and interfaces, and the sockets that serve in them. A dedicated thread
//! enters each netns and returns; it keeps no descriptor of a foreign netns, so that a deleted netns is freed at once. Only
//! while a netns is new, it holds a socket there, until the netns loses its name.

mod actor_queue;
pub mod budget;
pub mod candidates;
pub mod enter;
mod forwarding;
mod known_netns;
pub mod look;
mod look_failures;
mod notifications;
mod pending_discovery;
mod schedule;
mod socket_entry;
mod thread;
mod visit;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, watch as progress};

use self::budget::Budget;
use self::look::Interface;
use self::pending_discovery::MAX_PENDING;

/// Maximum number of netns with a pending request for work in them. Further requests for a scan become a request to scan all
/// netns, and further ones for connections are dropped: so many netns cannot be known.
const MAX_SINGLE: usize = 65_536;

/// Work to do inside each netns, on the netns thread.
pub trait NetnsActor: Send {
    /// Called inside the netns of `facts` at each look, before its sockets are listed; must be repeatable. Returns true if
    /// steps are left for [`Self::act`]: work that waits for the kernel belongs there. `interfaces` are those that carry only
    /// this netns's own packets: no loopback, and none of the host's.
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool;
    /// Runs one step that the last call of [`Self::enter`] left; called inside the netns. Returns true if more are left.
    fn act(&mut self, _netns: NetnsId) -> bool {
        false
    }
    /// Returns true if every socket that opens is reported by kernel events, so that a new netns needs fewer scans.
    fn has_socket_events(&self) -> bool {
        false
    }
    /// Called after a netns was entered and its sockets were listed, with the time that this took.
    fn scanned(&mut self, _took: Duration) {}
    /// Called outside when the netns is gone.
    fn gone(&mut self, netns: NetnsId);
    /// Returns true if [`Self::leave`] has something to remove in the netns.
    fn must_leave(&self, _netns: NetnsId) -> bool {
        false
    }
    /// Called inside the netns before the thread ends: removes what the kernel does not remove by itself.
    fn leave(&mut self, _netns: NetnsId) {}
}

/// An actor that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoActor;

impl NetnsActor for NoActor {
    fn enter(&mut self, _facts: &NetnsFacts, _interfaces: &[Interface]) -> bool {
        false
    }
    fn gone(&mut self, _netns: NetnsId) {}
}

/// Where to look for netns, and how often.
#[derive(Clone, Debug)]
pub struct NetnsOptions {
    /// Directories with named netns. A directory that does not exist may appear later.
    pub dirs: Vec<PathBuf>,
    /// The host's /proc.
    pub proc_root: PathBuf,
    /// Shortest time between two looks at a netns; longer if `budget` requires it.
    pub rotation: Duration,
    /// Shortest time between two walks over /proc for netns without a name; longer if `budget` requires it.
    pub process_walk: Duration,
    /// Budget of the rotation, and of the walks, while nothing changes.
    pub budget: Budget,
    /// What to do with the host's own netns. Its facts are reported in any case.
    pub host: HostNetns,
}

/// What to do with the host's own netns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNetns {
    /// Runs the actor in it and lists its sockets.
    Scanned,
    /// Lists its sockets, for the pods that share it, but does not run the actor in it.
    Listed,
    /// Reports only its facts.
    FactsOnly,
}

impl Default for NetnsOptions {
    fn default() -> Self {
        Self {
            dirs: vec![PathBuf::from("/run/netns"), PathBuf::from("/run/docker/netns")],
            proc_root: PathBuf::from("/proc"),
            rotation: Duration::from_secs(15),
            process_walk: Duration::from_secs(3),
            budget: Budget::default(),
            host: HostNetns::FactsOnly,
        }
    }
}

/// Progress of the thread. The channel closes when the thread ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// True once every netns that existed at the start was entered and scanned.
    pub first_scan_done: bool,
    /// Highest ticket of [`NetnsHandle::scan_all`] that is done.
    pub scans_done: u64,
    /// Number of netns known now.
    pub netns: usize,
    /// What could not be looked at the last time, in one line.
    pub failure: Option<String>,
    /// Number of netns that wait for a requested scan or list of connections. A change of it does not count as a change of
    /// the progress.
    pub waiting: usize,
    /// Since when the first of them waits.
    pub waiting_since: Option<BootTime>,
}

impl Progress {
    /// Returns true if the first scan is done, and either nothing failed or a netns besides the agent's own was looked at.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.first_scan_done && (self.failure.is_none() || self.netns > 1)
    }
}

/// Requests that are not done yet. Repeated requests count once.
#[derive(Debug, Default)]
struct Requests {
    /// Netns that the kernel reported and that are not known, each with a process that has a socket there.
    discover: BTreeMap<NetnsId, Option<u32>>,
    scan: BTreeSet<NetnsId>,
    /// Netns whose connections are to be listed.
    connections: BTreeSet<NetnsId>,
    /// Ticket of the last request to scan all netns.
    scan_all: u64,
    shutdown: bool,
    /// True while the thread waits for its budget: it takes further requests for work in single netns when the budget allows
    /// work again, and they need not wake it.
    awaits_budget: bool,
}

/// Passes requests to the netns thread and wakes it.
#[derive(Debug)]
struct Mailbox {
    requests: Mutex<Requests>,
    wake: OwnedFd,
}

impl Mailbox {
    fn request<T>(&self, change: impl FnOnce(&mut Requests) -> T) -> T {
        let result = change(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake();
        result
    }

    /// Requests work that the budget limits: wakes the thread unless it waits for the budget.
    fn request_work(&self, change: impl FnOnce(&mut Requests)) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut requests);
        let awaits_budget = requests.awaits_budget;
        drop(requests);
        if !awaits_budget {
            self.wake();
        }
    }

    fn wake(&self) {
        // The write fails only when the counter is full, and then the thread is awake anyway.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Says whether the thread waits for its budget. Returns false if requests came that were not taken.
    fn await_budget(&self, awaits_budget: bool) -> bool {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.awaits_budget = awaits_budget;
        awaits_budget || requests.scan.is_empty() && requests.connections.is_empty()
    }

    /// Takes all requests. The ticket of the last request to scan all netns stays.
    fn take(&self) -> Requests {
        let mut counter = [0_u8; 8];
        let _empty = rustix::io::read(&self.wake, &mut counter);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let (scan_all, awaits_budget) = (requests.scan_all, requests.awaits_budget);
        std::mem::replace(&mut *requests, Requests { scan_all, awaits_budget, ..Requests::default() })
    }
}

/// Handle of the running netns thread.
#[derive(Debug)]
pub struct NetnsHandle {
    mailbox: Arc<Mailbox>,
    progress: progress::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the netns thread.
///
/// # Errors
/// When /proc is not mounted, or the kernel provides no eventfd, inotify instance or thread.
pub fn start(
    options: NetnsOptions,
    actor: Box<dyn NetnsActor>,
    inputs: mpsc::Sender<Input>,
) -> io::Result<NetnsHandle> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let mailbox = Arc::new(Mailbox { requests: Mutex::default(), wake });
    let (report, reported) = progress::channel(Progress::default());
    let watch = watch::DirWatch::new(&options.dirs)?;
    let parts = thread::ThreadParts {
        options,
        actor,
        inputs,
        mailbox: Arc::clone(&mailbox),
        progress: report,
        watch,
    };
    let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(move || thread::run(parts))?;
    Ok(NetnsHandle { mailbox, progress: reported, thread: Some(thread) })
}

impl NetnsHandle {
    /// Looks for an unknown netns that the kernel reported. The netns is reported as gone if it is not found.
    /// `pid`: a process that has a socket there, through which the netns can be entered if nothing else leads there.
    pub fn discover(&self, netns: NetnsId, pid: Option<u32>) {
        self.mailbox.request(|requests| {
            if requests.discover.len() < MAX_PENDING {
                requests.discover.insert(netns, pid);
            }
        });
    }

    /// Requests the scan of one netns. All requests together have one budget; see [`budget::RequestBudget`].
    pub fn scan(&self, netns: NetnsId) {
        self.mailbox.request_work(|requests| {
            if requests.scan.len() < MAX_SINGLE {
                requests.scan.insert(netns);
            } else {
                requests.scan_all += 1;
            }
        });
    }

    /// Requests the list of the TCP connections of one netns.
    pub fn list_connections(&self, netns: NetnsId) {
        self.mailbox.request_work(|requests| {
            if requests.connections.len() < MAX_SINGLE {
                requests.connections.insert(netns);
            }
        });
    }

    /// Requests a discovery and the scan of every netns. Returns a ticket: the scan is done once [`Progress::scans_done`] has
    /// reached it.
    pub fn scan_all(&self) -> u64 {
        self.mailbox.request(|requests| {
            requests.scan_all += 1;
            requests.scan_all
        })
    }

    /// Returns a receiver of the progress, on which the first scan or a ticket can be awaited.
    #[must_use]
    pub fn progress(&self) -> progress::Receiver<Progress> {
        self.progress.clone()
    }

    /// Ends the thread and waits until it has ended. Drop the receiver of the inputs first, or keep draining it.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.mailbox.request(|requests| requests.shutdown = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the netns thread panicked");
        }
    }
}

impl Drop for NetnsHandle {
    fn drop(&mut self) {
        self.mailbox.request(|requests| requests.shutdown = true);
    }
}
