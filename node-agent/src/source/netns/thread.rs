//! The netns thread: discovers, enters, lets the actor act, scans, returns, tells. Nothing is dropped: it waits while the
//! engine is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId};
use portolan_engine::model::input::Input;
use portolan_engine::model::socket::NetnsScan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, watch as progress};

use super::acting::ToAct;
use super::blind_spots::BlindSpots;
use super::budget::{Average, Pace, again_on_request};
use super::candidates::{self, Candidate};
use super::enter::Home;
use super::known::{Depth, EARLY_LOOKS_MS, Known};
use super::look::{Beyond, Look, look};
use super::sought::Sought;
use super::watch::DirWatch;
use super::{HostNetns, Mailbox, NetnsActor, NetnsOptions, Progress};
use crate::source::clock;
use crate::source::process::SocketOwners;
use crate::source::scan::{SocketList, listed_sockets};

/// `ip netns add` makes the file and mounts on it then; a file that stays empty is tried this long.
const UNFINISHED_TRIES: u8 = 60;
const UNFINISHED_PAUSE: Duration = Duration::from_millis(5);
/// A directory that is not there is tried again after this.
const MISSING_DIR_PAUSE: Duration = Duration::from_millis(250);
/// What could not be looked at is tried again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// After names changed, processes are walked this much later: many changes, one walk.
const CHANGE_PAUSE: Duration = Duration::from_millis(60);

/// What the thread is made of.
pub(super) struct Parts {
    pub options: NetnsOptions,
    pub actor: Box<dyn NetnsActor>,
    pub inputs: mpsc::Sender<Input>,
    pub mailbox: Arc<Mailbox>,
    pub report: progress::Sender<Progress>,
    pub watch: DirWatch,
}

/// What one visit saw.
struct Visited {
    look: Look,
    /// `None`: not asked for, or refused.
    sockets: Option<SocketList>,
    /// Why they were refused.
    failure: Option<io::Error>,
    /// The actor has something left to do there.
    is_to_act: bool,
}

pub(super) struct NetnsThread {
    pub parts: Parts,
    pub home: Home,
    host_inode: u64,
    /// Names in the directories that changed since all of them were looked through.
    changed_names: BTreeSet<String>,
    owners: SocketOwners,
    /// By inode number: valid until the next look finds another cookie there.
    pub known: BTreeMap<u64, Known>,
    pub to_act: ToAct,
    sought: Sought,
    blind_spots: BlindSpots,
    /// A netns vanished between the walk and the look.
    is_unsure: bool,
    next_walk: BootTime,
    /// When a walk may be asked for.
    walk_ready_at: BootTime,
    next_names: Option<BootTime>,
    unfinished_tries: u8,
    spread: u64,
    /// CPU time of one look.
    cost_of_look: Average,
    pace: Pace,
    /// The engine is gone, or a shutdown was asked for.
    ended: bool,
}

/// Runs until shutdown.
pub(super) fn run(parts: Parts) {
    let home = match Home::of_this_thread() {
        Ok(home) => home,
        Err(error) => return tracing::error!(%error, "cannot open the agent's own netns"),
    };
    let host_inode = candidates::host_inode(&parts.options.proc_root, home.inode);
    let owners = SocketOwners::new(&parts.options.proc_root);
    let mut thread = NetnsThread {
        parts,
        home,
        host_inode,
        changed_names: BTreeSet::new(),
        owners,
        known: BTreeMap::new(),
        to_act: ToAct::default(),
        sought: Sought::default(),
        blind_spots: BlindSpots::default(),
        is_unsure: false,
        next_walk: BootTime(0),
        walk_ready_at: BootTime(0),
        next_names: None,
        unfinished_tries: 0,
        spread: 0,
        cost_of_look: Average::default(),
        pace: Pace::default(),
        ended: false,
    };
    thread.discover();
    thread.parts.report.send_modify(|progress| progress.first_scan_done = true);
    while !thread.ended {
        thread.turn();
    }
    thread.leave_all();
}

impl NetnsThread {
    fn turn(&mut self) {
        self.wait();
        let wanted = self.parts.mailbox.take();
        if wanted.shutdown {
            self.ended = true;
            return;
        }
        let done = self.parts.report.borrow().scans_done;
        let waiting = self.changed_names.len();
        if self.parts.watch.drain(&mut self.changed_names) || self.parts.watch.add_missing() {
            self.next_walk = BootTime(0);
        }
        if self.changed_names.len() > waiting {
            self.unfinished_tries = UNFINISHED_TRIES;
            self.look_at_names();
        } else if self.next_names.is_some_and(|at| at <= clock::now()) {
            self.look_at_names();
        }
        if !wanted.discover.is_empty() {
            self.next_walk = self.next_walk.min(self.walk_ready_at);
            self.sought.add(&wanted.discover);
        }
        if wanted.scan_all > done || self.next_walk <= clock::now() {
            self.discover();
        }
        for known in self.known.values_mut().filter(|known| wanted.scan.contains(&known.facts.netns)) {
            known.next_look = known.next_look.min(known.ready_at);
            known.asked = true;
        }
        let hears_of_sockets = self.parts.actor.hears_of_sockets();
        let turn = self.whose_turn();
        self.look_at_due(|inode, known, now| {
            if wanted.scan_all > done {
                return Some(Depth::Whole);
            }
            if known.is_rotating() && turn != Some(inode) {
                return None;
            }
            // The last of the early looks is whole again, for what came between the hooks and the first scan.
            let is_early = known.looks + 1 < EARLY_LOOKS_MS.len();
            let is_light = is_early && hears_of_sockets && !known.asked;
            let depth = if is_light { Depth::Interfaces } else { Depth::Whole };
            (known.next_look <= now).then_some(depth)
        });
        if wanted.scan_all > done {
            self.parts.report.send_modify(|progress| progress.scans_done = wanted.scan_all);
        }
        self.act_next();
    }

    /// Sleeps until something is due or asked for.
    fn wait(&self) {
        let now = clock::now();
        let looks = self.known.values().map(|known| known.due(self.pace));
        let missing = self.parts.watch.is_incomplete().then(|| now.after(MISSING_DIR_PAUSE));
        let due = looks.chain([self.next_walk]).chain(self.next_names).chain(missing).min();
        let pause = due.map_or(Duration::from_secs(1), |due| due.since(now));
        let pause = self.to_act.pause(now).map_or(pause, |step| step.min(pause));
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(pause.subsec_nanos()),
        };
        let wake = PollFd::new(&self.parts.mailbox.wake, PollFlags::IN);
        let names = self.parts.watch.fd();
        let mut fds = [wake, PollFd::new(&names, PollFlags::IN)];
        // Interrupted: the loop looks at everything anyway.
        let _woken = poll(&mut fds, Some(&timeout));
    }

    /// Changed names only: the fast way to a new netns.
    fn look_at_names(&mut self) {
        let names = std::mem::take(&mut self.changed_names);
        let changed = candidates::changed(&self.parts.options.dirs, &names, self.home.nsfs);
        self.next_names = None;
        if !changed.unfinished.is_empty() && self.unfinished_tries > 0 {
            self.unfinished_tries -= 1;
            self.next_names = Some(clock::now().after(UNFINISHED_PAUSE));
            self.changed_names = changed.unfinished;
        }
        // A netns that lost a name may be gone: only a walk tells.
        let lost = |known: &Known, path: &String| known.candidate.paths.contains(path);
        let is_lost = changed.others.iter().any(|path| self.known.values().any(|known| lost(known, path)))
            || changed.netns.iter().any(|(inode, path)| {
                self.known.iter().any(|(other, known)| other != inode && lost(known, path))
            });
        if is_lost {
            self.walk_soon();
        }
        for (inode, path) in changed.netns {
            match self.known.get_mut(&inode) {
                None => self.look_at(inode, Candidate { paths: vec![path], pids: Vec::new() }, Depth::Whole),
                // The same name made anew may be another netns under a recycled inode number.
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

    /// Names and processes: finds every netns, and which ones are gone. A walk that failed finds only.
    fn discover(&mut self) {
        let (before, began) = (clock::thread_cpu(), clock::now());
        let options = &self.parts.options;
        let walk = candidates::walk(&options.proc_root, &options.dirs, self.home.nsfs);
        let mut found = walk.found;
        found.entry(self.home.inode).or_default();
        let cost = clock::thread_cpu().saturating_sub(before);
        let is_whole = walk.failure.is_none();
        self.blind_spots.walked(walk.failure.as_ref(), |inode| found.contains_key(&inode));
        if let Some(error) = &walk.failure {
            tracing::debug!(%error, "cannot look for netns");
            self.lose("netns-walk-failed", 1);
        } else {
            let gone: Vec<u64> =
                self.known.keys().filter(|inode| !found.contains_key(inode)).copied().collect();
            gone.into_iter().for_each(|inode| self.forget(inode));
        }
        self.is_unsure = false;
        for (inode, candidate) in found {
            match self.known.get_mut(&inode) {
                None => self.look_at(inode, candidate, Depth::Whole),
                Some(_) if !is_whole => {}
                Some(known) if known.candidate.paths != candidate.paths => {
                    self.look_at(inode, candidate, Depth::Whole);
                }
                Some(known) => known.candidate = candidate,
            }
        }
        if is_whole {
            self.end_the_sought(began);
        }
        let (now, options) = (clock::now(), &self.parts.options);
        self.next_walk = now.after(options.budget.pause(cost, options.process_walk));
        self.walk_ready_at = again_on_request(now, cost);
        // Walking is frequent, and most walks find nothing to forget.
        if self.owners.len() > self.known.values().map(|known| known.sockets.len()).sum() {
            let alive = self.known.values().flat_map(|known| known.sockets.iter().copied()).collect();
            self.owners.retain(&alive);
        }
        self.count();
    }

    /// What a whole walk that began then did not find is gone, unless it may be what could not be looked at.
    fn end_the_sought(&mut self, began: BootTime) {
        if self.sought.is_empty() {
            return;
        }
        self.sought.found(&self.known.values().map(|known| known.facts.netns).collect());
        if !self.blind_spots.all_were_looked_at() {
            return;
        }
        let gone = self.sought.missed(self.is_unsure);
        if !self.sought.is_empty() {
            self.walk_soon();
        }
        for netns in gone {
            self.send(Input::NetnsGone { netns, at: began });
        }
    }

    /// The one of the rotation that has waited longest, at its pace.
    fn whose_turn(&self) -> Option<u64> {
        let rotating = self.known.iter().filter(|(_, known)| known.is_rotating());
        let (inode, first) = rotating.min_by_key(|(_, known)| known.next_look)?;
        (first.due(self.pace) <= clock::now()).then_some(*inode)
    }

    fn look_at_due(&mut self, due: impl Fn(u64, &Known, BootTime) -> Option<Depth>) {
        let now = clock::now();
        let due: Vec<(u64, Candidate, Depth)> = self
            .known
            .iter()
            .filter_map(|(inode, known)| {
                let depth = due(*inode, known, now)?;
                Some((*inode, known.candidate.clone(), depth))
            })
            .collect();
        for (inode, candidate, depth) in due {
            if self.ended {
                return;
            }
            self.look_at(inode, candidate, depth);
        }
    }

    /// Enters, lets the actor begin, scans, returns, tells.
    fn look_at(&mut self, inode: u64, candidate: Candidate, depth: Depth) {
        let (at, before) = (clock::now(), clock::thread_cpu());
        let was_rotating = self.known.get(&inode).is_some_and(Known::is_rotating);
        match self.visit(inode, &candidate, depth) {
            Ok(visited) => {
                if visited.sockets.is_some() {
                    self.parts.actor.scanned(clock::now().since(at));
                }
                self.learn(inode, candidate, visited, at);
            }
            Err(error) => {
                // Gone, so that the next walk does not find it; or forbidden.
                if error.kind() == io::ErrorKind::NotFound {
                    self.is_unsure = true;
                    self.blind_spots.looked(inode);
                } else {
                    self.look_failed(inode, &error);
                }
                if let Some(known) = self.known.get_mut(&inode) {
                    known.next_look = at.after(self.parts.options.rotation.min(LOOK_AGAIN));
                }
                self.walk_soon();
            }
        }
        let (cost, now) = (clock::thread_cpu().saturating_sub(before), clock::now());
        self.cost_of_look.add(cost);
        if was_rotating {
            self.pace.looked(now, cost, self.known.len(), self.parts.options.budget);
        }
        if let Some(known) = self.known.get_mut(&inode) {
            known.ready_at = again_on_request(now, cost);
        }
    }

    /// Counted once for each time that it begins.
    fn look_failed(&mut self, inode: u64, error: &io::Error) {
        tracing::debug!(inode, %error, "cannot look at a netns");
        if self.blind_spots.failed(inode, error) {
            self.lose("netns-look-failed", 1);
        }
    }

    fn visit(&mut self, inode: u64, candidate: &Candidate, depth: Depth) -> io::Result<Visited> {
        let is_host = inode == self.host_inode;
        let entered = if inode == self.home.inode {
            None
        } else {
            Some(self.home.enter_any(candidate.ways_in(&self.parts.options.proc_root), inode)?)
        };
        let known = self.known.get(&inode);
        let kept = known.filter(|known| depth == Depth::Interfaces || known.is_kept());
        let look = look(inode, candidate.paths.clone(), is_host, kept.map(|known| &known.facts))?;
        let before = known.filter(|_| depth == Depth::Interfaces).map(|known| &known.facts);
        let is_same = before.is_some_and(|facts| facts.netns == look.facts.netns);
        let is_acted_in = !is_host || self.parts.options.host == HostNetns::Scanned;
        // What the host's interfaces carry is mostly that of pods.
        let own = if is_host { &[] } else { look.interfaces.as_slice() };
        let is_to_act = is_acted_in && self.parts.actor.enter(&look.facts, own);
        let is_listed = !is_host || self.parts.options.host != HostNetns::FactsOnly;
        let listed = (is_listed && !is_same).then(listed_sockets);
        drop(entered);
        let (sockets, failure) = match listed.transpose() {
            Ok(sockets) => (sockets, None),
            Err(error) => (None, Some(error)),
        };
        Ok(Visited { look, sockets, failure, is_to_act })
    }

    fn learn(&mut self, inode: u64, candidate: Candidate, visited: Visited, at: BootTime) {
        let Visited { look, sockets, failure, is_to_act } = visited;
        match &failure {
            Some(error) => self.look_failed(inode, error),
            None => self.blind_spots.looked(inode),
        }
        let netns = look.facts.netns;
        if self.known.get(&inode).is_some_and(|known| known.facts.netns != netns) {
            self.forget(inode);
        }
        let before = self.known.remove(&inode);
        if before.as_ref().is_none_or(|known| known.facts != look.facts) {
            self.send(Input::NetnsSeen { facts: look.facts.clone(), at });
        }
        self.tell_what_is_left_out(before.as_ref().map(|known| known.beyond).unwrap_or_default(), &look);
        let mut cookies = Box::default();
        let looks = before.as_ref().map_or(0, |known| known.looks + 1);
        if let (None, Some(before)) = (&sockets, before) {
            cookies = before.sockets;
        }
        if let Some(SocketList { sockets, unparsable }) = sockets {
            self.lose("sockets-unparsable", unparsable);
            cookies = sockets.iter().map(|socket| socket.cookie).collect();
            self.owners.check(&sockets);
            self.owners.find(&sockets, &candidate.pids);
            let sockets = sockets
                .iter()
                .map(|socket| socket.in_netns(netns, self.owners.owner(socket).cloned()))
                .collect();
            self.send(Input::NetnsScanned(NetnsScan { netns, at, sockets }));
        }
        let next_look = self.next_look(looks, at);
        let has_name = !candidate.paths.is_empty();
        let known = Known {
            candidate,
            facts: look.facts,
            sockets: cookies,
            beyond: look.beyond,
            looks,
            next_look,
            ready_at: next_look,
            asked: false,
        };
        self.known.insert(inode, known);
        if is_to_act {
            self.to_act.push(inode, has_name);
        }
        self.count();
    }

    /// Only what was not told before: a netns is looked at again and again.
    fn tell_what_is_left_out(&mut self, before: Beyond, look: &Look) {
        let Beyond { interfaces, addresses } = look.beyond;
        if !look.facts.is_host {
            self.lose("netns-interfaces-full", interfaces.saturating_sub(before.interfaces));
        }
        self.lose("netns-addresses-full", addresses.saturating_sub(before.addresses));
    }

    fn lose(&mut self, reason: &'static str, count: usize) {
        if count > 0 {
            self.send(Input::Lost { reason, count: count as u64, recovered: false });
        }
    }

    fn next_look(&mut self, looks: usize, at: BootTime) -> BootTime {
        if let Some(pause) = EARLY_LOOKS_MS.get(looks) {
            return at.after(Duration::from_millis(*pause));
        }
        let options = &self.parts.options;
        let netns = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let all = self.cost_of_look.get().saturating_mul(netns);
        let rotation = options.budget.pause(all, options.rotation);
        if looks > EARLY_LOOKS_MS.len() {
            return at.after(rotation);
        }
        // The first look of the rotation is drawn evenly, so that namespaces made together drift apart.
        self.spread = self.spread.wrapping_add(0x9E37_79B9_7F4A_7C15);
        at.after(rotation.mul_f64(0.25 + 0.75 * ((self.spread >> 11) as f64 / (1_u64 << 53) as f64)))
    }

    fn forget(&mut self, inode: u64) {
        if let Some(known) = self.known.remove(&inode) {
            let netns: NetnsId = known.facts.netns;
            self.parts.actor.gone(netns);
            self.send(Input::NetnsGone { netns, at: clock::now() });
        }
    }

    /// Waits while the engine is busy; facts are never dropped.
    fn send(&mut self, input: Input) {
        if self.parts.inputs.blocking_send(input).is_err() {
            self.ended = true;
        }
    }

    fn count(&self) {
        let (netns, blind) = (self.known.len(), self.blind_spots.reason());
        self.parts.report.send_if_modified(|progress| {
            let is_new = progress.netns != netns || progress.blind != blind;
            (progress.netns, progress.blind) = (netns, blind);
            is_new
        });
    }
}
