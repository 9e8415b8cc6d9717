//! The netns thread: discovers netns, looks at them, runs the actor in them and sends what it found to the engine. Drops no
//! fact: the thread waits while the engine is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::socket::NetnsScan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, watch as progress};

use super::actor_queue::ActorQueue;
use super::budget::earliest_repeat;
use super::candidates::{self, Candidate};
use super::enter::HomeNetns;
use super::known_netns::{EARLY_LOOKS_MS, KnownNetns, LookDepth};
use super::look::{Look, Omitted};
use super::look_failures::LookFailures;
use super::pending_discovery::PendingDiscovery;
use super::schedule::LookSchedule;
use super::visit::{Visited, Visitor};
use super::watch::DirWatch;
use super::{Mailbox, NetnsActor, NetnsOptions, Progress};
use crate::source::clock;
use crate::source::process::SocketOwners;
use crate::source::scan::SocketList;

/// Maximum number of retries for a changed name that is an empty file: `ip netns add` creates the file before it mounts the
/// netns on it.
const UNFINISHED_TRIES: u8 = 60;
const UNFINISHED_PAUSE: Duration = Duration::from_millis(5);
/// Pause before the next attempt to watch a directory that does not exist.
const MISSING_DIR_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before the next look after a failed one.
const RETRY_LOOK: Duration = Duration::from_secs(3);
/// Delay between a changed name and the walk over processes, so that many changes cause one walk.
const CHANGE_PAUSE: Duration = Duration::from_millis(60);

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
        let scans_all = requests.scan_all > self.progress.borrow().scans_done;
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
        for known in self.known.values_mut().filter(|known| requests.scan.contains(&known.facts.netns)) {
            known.next_look = known.next_look.min(known.ready_at);
            known.is_requested = true;
        }
        self.look_at_due(scans_all);
        if scans_all {
            self.progress.send_modify(|progress| progress.scans_done = requests.scan_all);
        }
        self.run_actor_step();
    }

    /// Sleeps until something is due or requested.
    fn wait(&self) {
        let now = clock::now();
        let looks = self.known.values().map(|known| known.due(self.schedule.pace));
        let missing = self.watch.is_incomplete().then(|| now.after(MISSING_DIR_PAUSE));
        let due = looks.chain([self.next_walk]).chain(self.next_names).chain(missing).min();
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

    /// Looks up the changed names only, which finds a new netns faster than a walk.
    fn look_at_names(&mut self) {
        let names = std::mem::take(&mut self.changed_names);
        let changed = candidates::changed(&self.options.dirs, &names, self.visitor.home.nsfs);
        self.next_names = None;
        if !changed.unfinished.is_empty() && self.unfinished_tries > 0 {
            self.unfinished_tries -= 1;
            self.next_names = Some(clock::now().after(UNFINISHED_PAUSE));
            self.changed_names = changed.unfinished;
        }
        // A netns that lost a name may be gone; only a walk can tell.
        let lost = |known: &KnownNetns, path: &String| known.candidate.paths.contains(path);
        let is_lost = changed.others.iter().any(|path| self.known.values().any(|known| lost(known, path)))
            || changed.netns.iter().any(|(inode, path)| {
                self.known.iter().any(|(other, known)| other != inode && lost(known, path))
            });
        if is_lost {
            self.walk_soon();
        }
        for (inode, path) in changed.netns {
            match self.known.get_mut(&inode) {
                None => {
                    let candidate = Candidate { paths: vec![path], pids: Vec::new() };
                    self.look_at(inode, candidate, LookDepth::Full);
                }
                // A recreated name may be another netns under a reused inode number.
                Some(known) => {
                    if !known.candidate.paths.contains(&path) {
                        known.candidate.paths.push(path);
                        known.candidate.paths.sort();
                    }
                    known.next_look = BootTime(0);
                }
            }
        }
    }

    fn walk_soon(&mut self) {
        self.next_walk = self.next_walk.min(clock::now().after(CHANGE_PAUSE));
    }

    /// Walks over names and processes: looks at every new netns and forgets those that are gone. A walk that failed only
    /// adds netns.
    fn discover(&mut self) {
        let (before, began) = (clock::thread_cpu(), clock::now());
        let options = &self.options;
        let home = &self.visitor.home;
        let walk = candidates::walk(&options.proc_root, &options.dirs, home.nsfs);
        let mut found = walk.found;
        found.entry(home.inode).or_default();
        let cost = clock::thread_cpu().saturating_sub(before);
        let is_complete = walk.failure.is_none();
        self.failures.walked(walk.failure.as_ref(), |inode| found.contains_key(&inode));
        if let Some(error) = &walk.failure {
            tracing::debug!(%error, "cannot look for netns");
            self.report_loss("netns-walk-failed", 1);
        } else {
            let gone: Vec<u64> =
                self.known.keys().filter(|inode| !found.contains_key(inode)).copied().collect();
            gone.into_iter().for_each(|inode| self.forget(inode));
        }
        self.is_walk_inconclusive = false;
        for (inode, candidate) in found {
            match self.known.get_mut(&inode) {
                None => self.look_at(inode, candidate, LookDepth::Full),
                Some(_) if !is_complete => {}
                Some(known) if known.candidate.paths != candidate.paths => {
                    self.look_at(inode, candidate, LookDepth::Full);
                }
                Some(known) => known.candidate = candidate,
            }
        }
        if is_complete {
            self.resolve_pending(began);
        }
        let (now, options) = (clock::now(), &self.options);
        self.next_walk = now.after(options.budget.pause(cost, options.process_walk));
        self.walk_ready_at = earliest_repeat(now, cost);
        // Walks are frequent, and most of them leave no owner to forget.
        if self.owners.remembered() > self.known.values().map(|known| known.sockets.len()).sum() {
            let alive = self.known.values().flat_map(|known| known.sockets.iter().copied()).collect();
            self.owners.retain(&alive);
        }
        self.report_progress();
    }

    /// Reports pending netns as gone that a complete walk, begun at `began`, did not find. Reports none while a look fails,
    /// since the pending netns may be the one that could not be looked at.
    fn resolve_pending(&mut self, began: BootTime) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.remove_known(&self.known.values().map(|known| known.facts.netns).collect());
        if !self.failures.no_look_failed() {
            return;
        }
        let gone = self.pending.take_missed(!self.is_walk_inconclusive);
        if !self.pending.is_empty() {
            self.walk_soon();
        }
        for netns in gone {
            self.send(Input::NetnsGone { netns, at: began });
        }
    }

    /// Returns the netns of the rotation that has waited longest, if the pace allows a look at it now.
    fn next_in_rotation(&self) -> Option<u64> {
        let rotating = self.known.iter().filter(|(_, known)| known.is_rotating());
        let (inode, first) = rotating.min_by_key(|(_, known)| known.next_look)?;
        (first.due(self.schedule.pace) <= clock::now()).then_some(*inode)
    }

    /// Looks at every netns that is due, or at all of them; at most one of them because of the rotation.
    fn look_at_due(&mut self, all: bool) {
        let has_socket_events = self.visitor.actor.has_socket_events();
        let (rotated, now) = (self.next_in_rotation(), clock::now());
        let depth = |inode: u64, known: &KnownNetns| {
            if all {
                return Some(LookDepth::Full);
            }
            if known.is_rotating() && rotated != Some(inode) {
                return None;
            }
            // The last of the early looks is full again, for sockets opened between the hooks and the first scan.
            let is_early = known.looks + 1 < EARLY_LOOKS_MS.len();
            let is_light = is_early && has_socket_events && !known.is_requested;
            let depth = if is_light { LookDepth::Interfaces } else { LookDepth::Full };
            (known.next_look <= now).then_some(depth)
        };
        let due: Vec<(u64, Candidate, LookDepth)> = self
            .known
            .iter()
            .filter_map(|(inode, known)| Some((*inode, known.candidate.clone(), depth(*inode, known)?)))
            .collect();
        for (inode, candidate, depth) in due {
            if self.is_stopping {
                return;
            }
            self.look_at(inode, candidate, depth);
        }
    }

    /// Looks at one netns and reports what was found.
    fn look_at(&mut self, inode: u64, candidate: Candidate, depth: LookDepth) {
        let (at, before) = (clock::now(), clock::thread_cpu());
        let known = self.known.get(&inode);
        let was_rotating = known.is_some_and(KnownNetns::is_rotating);
        match self.visitor.look(inode, &candidate, depth, known) {
            Ok(visited) => {
                if visited.sockets.is_some() {
                    self.visitor.actor.scanned(clock::now().since(at));
                }
                self.learn(inode, candidate, visited, at);
            }
            Err(error) => {
                // The netns is gone, so that the next walk does not find it, or it may not be entered.
                if error.kind() == io::ErrorKind::NotFound {
                    self.is_walk_inconclusive = true;
                    self.failures.cleared(inode);
                } else {
                    self.look_failed(inode, &error);
                }
                if let Some(known) = self.known.get_mut(&inode) {
                    known.next_look = at.after(self.options.rotation.min(RETRY_LOOK));
                }
                self.walk_soon();
            }
        }
        let (cost, now) = (clock::thread_cpu().saturating_sub(before), clock::now());
        self.schedule.looked(now, cost, was_rotating, self.known.len(), self.options.budget);
        if let Some(known) = self.known.get_mut(&inode) {
            known.ready_at = earliest_repeat(now, cost);
        }
    }

    /// Records a failed look. Counts it as lost only if the look before did not fail.
    fn look_failed(&mut self, inode: u64, error: &io::Error) {
        tracing::debug!(inode, %error, "cannot look at a netns");
        if self.failures.failed(inode, error) {
            self.report_loss("netns-look-failed", 1);
        }
    }

    /// Remembers the result of a look and sends it to the engine.
    fn learn(&mut self, inode: u64, candidate: Candidate, visited: Visited, at: BootTime) {
        let Visited { look, sockets, failure, has_actor_steps } = visited;
        match &failure {
            Some(error) => self.look_failed(inode, error),
            None => self.failures.cleared(inode),
        }
        let netns = look.facts.netns;
        if self.known.get(&inode).is_some_and(|known| known.facts.netns != netns) {
            self.forget(inode);
        }
        let before = self.known.remove(&inode);
        if before.as_ref().is_none_or(|known| known.facts != look.facts) {
            self.send(Input::NetnsSeen { facts: look.facts.clone(), at });
        }
        self.report_omitted(before.as_ref().map(|known| known.omitted).unwrap_or_default(), &look);
        let looks = before.as_ref().map_or(0, |known| known.looks + 1);
        let sockets = match sockets {
            Some(listed) => self.report_sockets(netns, listed, &candidate, at),
            None => before.map_or_else(Box::default, |before| before.sockets),
        };
        let NetnsOptions { budget, rotation, .. } = self.options;
        let next_look = self.schedule.next_look(looks, at, self.known.len(), budget, rotation);
        let has_name = !candidate.paths.is_empty();
        let known = KnownNetns {
            candidate,
            facts: look.facts,
            sockets,
            omitted: look.omitted,
            looks,
            next_look,
            ready_at: next_look,
            is_requested: false,
        };
        self.known.insert(inode, known);
        if has_actor_steps {
            self.actor_queue.push(inode, has_name);
        }
        self.report_progress();
    }

    /// Sends the scan of one netns to the engine, with the sockets' owners. Returns the sockets' cookies.
    fn report_sockets(
        &mut self,
        netns: NetnsId,
        listed: SocketList,
        candidate: &Candidate,
        at: BootTime,
    ) -> Box<[SocketCookie]> {
        let SocketList { sockets, unparsable } = listed;
        self.report_loss("sockets-unparsable", unparsable);
        let cookies = sockets.iter().map(|socket| socket.cookie).collect();
        self.owners.forget_ended(&sockets);
        self.owners.find(&sockets, &candidate.pids);
        let sockets =
            sockets.iter().map(|socket| socket.in_netns(netns, self.owners.holder(socket))).collect();
        self.send(Input::NetnsScanned(NetnsScan { netns, at, sockets }));
        cookies
    }

    /// Reports omitted interfaces and addresses as lost, as far as they were not reported before: looks repeat.
    fn report_omitted(&mut self, before: Omitted, look: &Look) {
        let Omitted { interfaces, addresses } = look.omitted;
        if !look.facts.is_host {
            self.report_loss("netns-interfaces-full", interfaces.saturating_sub(before.interfaces));
        }
        self.report_loss("netns-addresses-full", addresses.saturating_sub(before.addresses));
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

    /// Runs one step of the actor in the netns that has waited longest.
    fn run_actor_step(&mut self) {
        let begun = clock::now();
        let Some((inode, has_name)) = self.actor_queue.pop(begun) else { return };
        let Some(known) = self.known.get_mut(&inode) else { return };
        let acted = self.visitor.act(inode, known);
        if !has_name {
            self.actor_queue.pause_nameless(begun, clock::now());
        }
        match acted {
            Ok(true) => self.actor_queue.push(inode, has_name),
            Ok(false) => {}
            Err(error) => {
                // The netns is gone, replaced or may not be entered: a look finds out and reports which.
                tracing::debug!(inode, %error, "cannot act in a netns");
                let [soon, ..] = EARLY_LOOKS_MS;
                let soon = clock::now().after(Duration::from_millis(soon));
                known.next_look = known.next_look.min(soon);
            }
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
