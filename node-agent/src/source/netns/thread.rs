//! The netns thread: discovers, enters, lets the actor act, scans, returns, tells. Nothing is dropped: it waits while the
//! engine is busy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, watch as progress};

use super::candidates::{self, Candidate};
use super::enter::Home;
use super::look::{Look, look};
use super::watch::DirWatch;
use super::{HostNetns, Mailbox, NetnsActor, NetnsOptions, Progress};
use crate::engine::identity::{BootTime, NetnsId, SocketCookie};
use crate::engine::input::{Input, NetnsFacts, NetnsScan};
use crate::source::clock;
use crate::source::process::SocketOwners;
use crate::source::scan::{ListedSocket, listed_sockets};

/// After a netns appeared, its interfaces follow within moments (CNI).
const EARLY_LOOKS_MS: [u64; 6] = [20, 50, 100, 200, 400, 800];
/// `ip netns add` makes the file and mounts on it then; a file that stays empty is tried this long.
const UNFINISHED_TRIES: u8 = 60;
const UNFINISHED_PAUSE: Duration = Duration::from_millis(5);
/// A directory that is not there is tried again after this.
const MISSING_DIR_PAUSE: Duration = Duration::from_millis(250);
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

/// One netns that was entered.
struct Known {
    candidate: Candidate,
    facts: NetnsFacts,
    sockets: BTreeSet<SocketCookie>,
    early_looks: usize,
    next_look: BootTime,
}

struct NetnsThread {
    parts: Parts,
    home: Home,
    host_inode: u64,
    /// Names in the directories that changed since all of them were looked through.
    changed_names: BTreeSet<String>,
    owners: SocketOwners,
    /// By inode number: valid until the next look finds another cookie there.
    known: BTreeMap<u64, Known>,
    next_walk: BootTime,
    next_names: Option<BootTime>,
    unfinished_tries: u8,
    spread: u64,
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
        next_walk: BootTime(0),
        next_names: None,
        unfinished_tries: 0,
        spread: 0,
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
        if self.parts.watch.drain(&mut self.changed_names) || self.parts.watch.add_missing() {
            self.unfinished_tries = UNFINISHED_TRIES;
            self.next_walk = self.next_walk.min(clock::now().after(CHANGE_PAUSE));
            self.look_at_names();
        } else if self.next_names.is_some_and(|at| at <= clock::now()) {
            self.look_at_names();
        }
        if wanted.discover || wanted.scan_all > done || self.next_walk <= clock::now() {
            self.discover();
        }
        self.look_at_due(|known, now| {
            known.next_look <= now || wanted.scan_all > done || wanted.scan.contains(&known.facts.netns)
        });
        if wanted.scan_all > done {
            self.parts.report.send_modify(|progress| progress.scans_done = wanted.scan_all);
        }
    }

    /// Sleeps until something is due or asked for.
    fn wait(&self) {
        let now = clock::now();
        let looks = self.known.values().map(|known| known.next_look);
        let missing = self.parts.watch.is_incomplete().then(|| now.after(MISSING_DIR_PAUSE));
        let due = looks.chain([self.next_walk]).chain(self.next_names).chain(missing).min();
        let pause = due.map_or(Duration::from_secs(1), |due| due.since(now));
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

    /// Names only: the fast way to a new netns.
    fn look_at_names(&mut self) {
        let named = candidates::named(&self.parts.options.dirs, self.home.nsfs);
        self.next_names = (named.unfinished && self.unfinished_tries > 0).then(|| {
            self.unfinished_tries -= 1;
            clock::now().after(UNFINISHED_PAUSE)
        });
        for (inode, paths) in named.by_inode {
            let Some(known) = self.known.get_mut(&inode) else {
                self.look_at(inode, Candidate { paths, pids: Vec::new() });
                continue;
            };
            // Another name, or the same one made anew, may be another netns under a recycled inode number. The others are
            // left alone: with every look at every name, N new ones would cost N².
            let is_news = paths != known.candidate.paths
                || paths
                    .iter()
                    .filter_map(|path| path.rsplit('/').next())
                    .any(|name| self.changed_names.contains(name));
            if is_news {
                known.candidate.paths = paths;
                known.next_look = BootTime(0);
            }
        }
        if !named.unfinished || self.next_names.is_none() {
            self.changed_names.clear();
        }
    }

    /// Names and processes: finds every netns, and which ones are gone.
    fn discover(&mut self) {
        let mut found: BTreeMap<u64, Candidate> = BTreeMap::new();
        for (inode, pids) in candidates::of_processes(&self.parts.options.proc_root) {
            found.entry(inode).or_default().pids = pids;
        }
        // Names after processes: a netns that loses its last process and keeps its name is never missed.
        let named = candidates::named(&self.parts.options.dirs, self.home.nsfs);
        for (inode, paths) in named.by_inode {
            found.entry(inode).or_default().paths = paths;
        }
        found.entry(self.home.inode).or_default();
        let gone: Vec<u64> = self.known.keys().filter(|inode| !found.contains_key(inode)).copied().collect();
        for inode in gone {
            self.forget(inode);
        }
        for (inode, candidate) in found {
            match self.known.get_mut(&inode) {
                None => self.look_at(inode, candidate),
                Some(known) if known.candidate.paths != candidate.paths => self.look_at(inode, candidate),
                Some(known) => known.candidate = candidate,
            }
        }
        self.next_walk = clock::now().after(self.parts.options.process_walk);
        let alive = self.known.values().flat_map(|known| known.sockets.iter().copied()).collect();
        self.owners.retain(&alive);
        self.count();
    }

    fn look_at_due(&mut self, is_due: impl Fn(&Known, BootTime) -> bool) {
        let now = clock::now();
        let due: Vec<(u64, Candidate)> = self
            .known
            .iter()
            .filter(|(_, known)| is_due(known, now))
            .map(|(inode, known)| (*inode, known.candidate.clone()))
            .collect();
        for (inode, candidate) in due {
            if self.ended {
                return;
            }
            self.look_at(inode, candidate);
        }
    }

    /// Enters, lets the actor act, scans, returns, tells.
    fn look_at(&mut self, inode: u64, candidate: Candidate) {
        let at = clock::now();
        match self.visit(inode, &candidate) {
            Ok((look, sockets)) => self.learn(inode, candidate, look, sockets, at),
            Err(error) => {
                tracing::debug!(inode, %error, "cannot look at a netns");
                // Gone or forbidden: the next walk tells which.
                if let Some(known) = self.known.get_mut(&inode) {
                    known.next_look = at.after(self.parts.options.rotation);
                }
                self.next_walk = self.next_walk.min(at.after(CHANGE_PAUSE));
            }
        }
    }

    fn visit(&mut self, inode: u64, candidate: &Candidate) -> io::Result<(Look, Option<Vec<ListedSocket>>)> {
        let is_host = inode == self.host_inode;
        let mut entered = None;
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        if inode != self.home.inode {
            for way in candidate.ways_in(&self.parts.options.proc_root) {
                match self.home.enter(&way, inode) {
                    Ok(visit) => {
                        entered = Some(visit);
                        break;
                    }
                    Err(error) => failure = error,
                }
            }
            if entered.is_none() {
                return Err(failure);
            }
        }
        let look = look(inode, candidate.paths.clone(), is_host)?;
        if !is_host || self.parts.options.host == HostNetns::Scanned {
            self.parts.actor.enter(&look.facts, &look.interfaces);
        }
        let listed = !is_host || self.parts.options.host != HostNetns::FactsOnly;
        let sockets = if listed { Some(listed_sockets()?) } else { None };
        drop(entered);
        Ok((look, sockets))
    }

    fn learn(
        &mut self,
        inode: u64,
        candidate: Candidate,
        look: Look,
        sockets: Option<Vec<ListedSocket>>,
        at: BootTime,
    ) {
        let netns = look.facts.netns;
        if self.known.get(&inode).is_some_and(|known| known.facts.netns != netns) {
            self.forget(inode);
        }
        let before = self.known.remove(&inode);
        if before.as_ref().is_none_or(|known| known.facts != look.facts) {
            self.send(Input::NetnsSeen(look.facts.clone()));
        }
        let mut cookies = BTreeSet::new();
        if let Some(sockets) = sockets {
            cookies.extend(sockets.iter().map(|socket| socket.cookie));
            self.owners.find(&sockets);
            let sockets = sockets
                .iter()
                .map(|socket| socket.in_netns(netns, self.owners.owner(socket).cloned()))
                .collect();
            self.send(Input::NetnsScanned(NetnsScan { netns, at, sockets }));
        }
        let early_looks = before.map_or(0, |known| known.early_looks + 1);
        let next_look = self.next_look(early_looks, at);
        self.known
            .insert(inode, Known { candidate, facts: look.facts, sockets: cookies, early_looks, next_look });
        self.count();
    }

    fn next_look(&mut self, early_looks: usize, at: BootTime) -> BootTime {
        if let Some(pause) = EARLY_LOOKS_MS.get(early_looks) {
            return at.after(Duration::from_millis(*pause));
        }
        let rotation = self.parts.options.rotation;
        if early_looks > EARLY_LOOKS_MS.len() {
            return at.after(rotation);
        }
        // The first look of the rotation is drawn evenly, so that namespaces made together drift apart.
        self.spread = self.spread.wrapping_add(0x9E37_79B9_7F4A_7C15);
        at.after(rotation.mul_f64(0.25 + 0.75 * ((self.spread >> 11) as f64 / (1_u64 << 53) as f64)))
    }

    /// Goes once more into every netns, for what the actor can only take away from inside.
    fn leave_all(&mut self) {
        for (inode, known) in std::mem::take(&mut self.known) {
            let netns = known.facts.netns;
            if inode == self.home.inode {
                self.parts.actor.leave(netns);
                continue;
            }
            let ways = known.candidate.ways_in(&self.parts.options.proc_root);
            // One that cannot be entered any more takes its interfaces with it.
            let entered = ways.into_iter().find_map(|way| self.home.enter(&way, inode).ok());
            if entered.is_some() {
                self.parts.actor.leave(netns);
            }
            drop(entered);
        }
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
        let netns = self.known.len();
        self.parts.report.send_if_modified(|progress| std::mem::replace(&mut progress.netns, netns) != netns);
    }
}
