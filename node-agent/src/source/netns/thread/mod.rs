//! The netns thread: discovers netns, looks at them, runs the actor in them and sends what it found to the engine. Drops no
//! fact: the thread waits while the engine is busy.

mod discovery;
mod looks;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::input::Input;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, watch as progress};

use super::actor_queue::ActorQueue;
use super::budget::RequestBudget;
use super::candidates;
use super::enter::HomeNetns;
use super::known_netns::KnownNetns;
use super::look_failures::LookFailures;
use super::pending_discovery::PendingDiscovery;
use super::schedule::LookSchedule;
use super::visit::Visitor;
use super::watch::DirWatch;
use super::{Mailbox, NetnsActor, NetnsOptions, Progress, Requests};
use crate::source::clock;
use crate::source::process::owners::SocketOwners;

/// Maximum number of retries for a changed name that is an empty file: `ip netns add` creates the file before it mounts the
/// netns on it.
const UNFINISHED_TRIES: u8 = 60;
/// Pause before the next attempt to watch a directory that does not exist.
const MISSING_DIR_PAUSE: Duration = Duration::from_millis(250);

/// Pause between two scans of all netns on request, as a multiple of the cost of the first: they take a tenth of a core at
/// most.
const SCAN_ALL_PAUSE_FACTOR: u32 = 9;

/// Settings and channels with which the thread is started.
pub(super) struct ThreadParts {
    pub options: NetnsOptions,
    pub actor: Box<dyn NetnsActor>,
    pub inputs: mpsc::Sender<Input>,
    pub mailbox: Arc<Mailbox>,
    pub progress: progress::Sender<Progress>,
    pub watch: DirWatch,
}

/// State of the netns thread.
struct NetnsThread {
    options: NetnsOptions,
    inputs: mpsc::Sender<Input>,
    mailbox: Arc<Mailbox>,
    progress: progress::Sender<Progress>,
    watch: DirWatch,
    visitor: Visitor,
    /// Names in the directories that changed since their last lookup.
    changed_names: BTreeSet<String>,
    owners: SocketOwners,
    /// Budget of the work on request.
    requests: RequestBudget,
    /// Ticket of the last request to scan all netns.
    scan_all: u64,
    /// Earliest time of the next scan of all netns on request.
    scan_all_ready_at: BootTime,
    /// CPU time of walks over all processes since the budget was last charged.
    walked: Duration,
    /// Known netns by inode number. An entry is valid until the next look finds another cookie under its inode number.
    known: BTreeMap<u64, KnownNetns>,
    actor_queue: ActorQueue,
    pending: PendingDiscovery,
    failures: LookFailures,
    /// True if a netns vanished between the last walk and its look.
    is_walk_inconclusive: bool,
    next_walk: BootTime,
    /// Earliest time of a walk on request.
    walk_ready_at: BootTime,
    next_names: Option<BootTime>,
    unfinished_tries: u8,
    schedule: LookSchedule,
    /// True once the engine is gone or a shutdown was requested.
    is_stopping: bool,
}

/// Runs the thread until shutdown.
pub(super) fn run(parts: ThreadParts) {
    let ThreadParts { options, actor, inputs, mailbox, progress, watch } = parts;
    let home = match HomeNetns::of_this_thread() {
        Ok(home) => home,
        Err(error) => return tracing::error!(%error, "cannot open the agent's own netns"),
    };
    let host_inode = candidates::host_inode(&options.proc_root, home.inode);
    let owners = SocketOwners::new(&options.proc_root);
    let visitor =
        Visitor { home, proc_root: options.proc_root.clone(), host_inode, host: options.host, actor };
    let mut thread = NetnsThread {
        options,
        inputs,
        mailbox,
        progress,
        watch,
        visitor,
        changed_names: BTreeSet::new(),
        owners,
        requests: RequestBudget::default(),
        scan_all: 0,
        scan_all_ready_at: BootTime(0),
        walked: Duration::ZERO,
        known: BTreeMap::new(),
        actor_queue: ActorQueue::default(),
        pending: PendingDiscovery::default(),
        failures: LookFailures::default(),
        is_walk_inconclusive: false,
        next_walk: BootTime(0),
        walk_ready_at: BootTime(0),
        next_names: None,
        unfinished_tries: 0,
        schedule: LookSchedule::default(),
        is_stopping: false,
    };
    thread.discover();
    thread.progress.send_modify(|progress| progress.first_scan_done = true);
    while !thread.is_stopping {
        thread.run_once();
    }
    for (inode, known) in std::mem::take(&mut thread.known) {
        thread.visitor.leave(inode, &known);
    }
}

impl NetnsThread {
    /// Waits, then handles everything that is due or requested.
    fn run_once(&mut self) {
        self.wait();
        let requests = self.mailbox.take();
        if requests.shutdown {
            self.is_stopping = true;
            return;
        }
        self.scan_all = requests.scan_all;
        let (scans_all, before) = (self.is_scan_of_all_due(clock::now()), clock::thread_cpu());
        let waiting = self.changed_names.len();
        if self.watch.drain(&mut self.changed_names) || self.watch.add_missing() {
            self.next_walk = BootTime(0);
        }
        if self.changed_names.len() > waiting {
            self.unfinished_tries = UNFINISHED_TRIES;
            self.look_at_names();
        } else if self.next_names.is_some_and(|at| at <= clock::now()) {
            self.look_at_names();
        }
        if !requests.discover.is_empty() {
            self.next_walk = self.next_walk.min(self.walk_ready_at);
            self.pending.add(&requests.discover);
        }
        if scans_all || self.next_walk <= clock::now() {
            self.discover();
        }
        self.note_requests(&requests);
        self.look_at_due(scans_all);
        if scans_all {
            // A pod that makes the kernel lose events causes scans of all netns.
            let cost = clock::thread_cpu().saturating_sub(before);
            self.scan_all_ready_at = clock::now().after(cost.saturating_mul(SCAN_ALL_PAUSE_FACTOR));
            self.progress.send_modify(|progress| progress.scans_done = requests.scan_all);
        }
        self.run_work();
        self.run_actor_step();
        self.report_waiting();
    }

    /// Returns true if a scan of all netns was requested and may begin at `now`.
    fn is_scan_of_all_due(&self, now: BootTime) -> bool {
        self.scan_all > self.progress.borrow().scans_done && now >= self.scan_all_ready_at
    }

    /// Remembers for which netns work was requested. Requests for netns that are not known need none: the first look at a
    /// netns scans it, and lists of connections are asked of known netns only.
    fn note_requests(&mut self, requests: &Requests) {
        if requests.scan.is_empty() && requests.connections.is_empty() {
            return;
        }
        let now = clock::now();
        for known in self.known.values_mut() {
            if requests.scan.contains(&known.facts.netns) {
                let planned = known.waiting.scan.unwrap_or(now);
                known.waiting.scan = Some(planned.min(now));
            }
            if requests.connections.contains(&known.facts.netns) {
                known.waiting.connections.get_or_insert(now);
            }
        }
    }

    /// Sleeps until something is due or requested.
    fn wait(&self) {
        let now = clock::now();
        let looks = self.known.values().map(|known| known.due(self.schedule.pace));
        let missing = self.watch.is_incomplete().then(|| now.after(MISSING_DIR_PAUSE));
        let work = self.next_work().map(|(due, ..)| due);
        // Requests do not wake the thread before the budget allows work, and did not until now if it was so.
        let in_debt = !self.requests.is_ready(now);
        let requested = if self.mailbox.await_budget(in_debt) {
            in_debt.then(|| self.requests.ready_at())
        } else {
            Some(now)
        };
        let is_all_requested = self.scan_all > self.progress.borrow().scans_done;
        let due = looks
            .chain([self.next_walk])
            .chain(is_all_requested.then_some(self.scan_all_ready_at))
            .chain(self.next_names)
            .chain(missing)
            .chain(work)
            .chain(requested)
            .min();
        let pause = due.map_or(Duration::from_secs(1), |due| due.since(now));
        let pause = self.actor_queue.pause(now).map_or(pause, |step| step.min(pause));
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(pause.subsec_nanos()),
        };
        let wake = PollFd::new(&self.mailbox.wake, PollFlags::IN);
        let names = self.watch.fd();
        let mut fds = [wake, PollFd::new(&names, PollFlags::IN)];
        // An interrupted poll needs no handling: the loop checks everything after each wait.
        let _woken = poll(&mut fds, Some(&timeout));
    }

    fn report_loss(&mut self, reason: &'static str, count: usize) {
        if count > 0 {
            self.send(Input::Lost { reason, count: count as u64, recovered: false });
        }
    }

    fn forget(&mut self, inode: u64) {
        if let Some(known) = self.known.remove(&inode) {
            let netns: NetnsId = known.facts.netns;
            self.visitor.actor.gone(netns);
            self.send(Input::NetnsGone { netns, at: clock::now() });
        }
    }

    /// Sends a fact to the engine. Waits while the engine is busy; facts are never dropped.
    fn send(&mut self, input: Input) {
        if self.inputs.blocking_send(input).is_err() {
            self.is_stopping = true;
        }
    }

    fn report_progress(&self) {
        let (netns, failure) = (self.known.len(), self.failures.reason());
        self.progress.send_if_modified(|progress| {
            let is_new = progress.netns != netns || progress.failure != failure;
            (progress.netns, progress.failure) = (netns, failure);
            is_new
        });
    }
}
