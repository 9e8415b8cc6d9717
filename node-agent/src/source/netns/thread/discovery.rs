//! Discovers netns: by names that changed, and by walks over names and processes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;

use super::NetnsThread;
use super::looks::LookCause;
use crate::source::clock;
use crate::source::netns::budget::earliest_repeat;
use crate::source::netns::candidates::{self, Candidate};
use crate::source::netns::known_netns::{KnownNetns, LookDepth};
use crate::source::netns::socket_entry::{netns_of_sockets, open};

/// Pause before a name that is not yet a netns is looked up again.
const UNFINISHED_PAUSE: Duration = Duration::from_millis(5);
/// Delay between a changed name and the walk over processes, so that many changes cause one walk.
const CHANGE_PAUSE: Duration = Duration::from_millis(60);

impl NetnsThread {
    /// Looks up the changed names only, which finds a new netns faster than a walk.
    pub(super) fn look_at_names(&mut self) {
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
        // A netns whose name was removed ends now, unless something else holds it.
        for (inode, known) in self.known.iter_mut().filter(|(_, known)| known.notifications.is_some()) {
            let is_remade = changed.netns.iter().any(|(other, path)| other != inode && lost(known, path));
            if is_remade || changed.others.iter().any(|path| lost(known, path)) {
                known.notifications = None;
            }
        }
        for (inode, path) in changed.netns {
            match self.known.get_mut(&inode) {
                None => {
                    let candidate = Candidate { paths: vec![path], ..Candidate::default() };
                    self.look_at(inode, candidate, LookDepth::NewName, LookCause::Schedule);
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

    pub(super) fn walk_soon(&mut self) {
        self.next_walk = self.next_walk.min(clock::now().after(CHANGE_PAUSE));
    }

    /// Walks over names and processes: looks at every new netns and forgets those that are gone. A walk that failed only
    /// adds netns.
    pub(super) fn discover(&mut self) {
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
            for inode in gone {
                if !self.is_held_by_a_socket(inode) {
                    self.forget(inode);
                }
            }
        }
        self.is_walk_inconclusive = false;
        for (inode, candidate) in found {
            if self.is_stopping {
                return;
            }
            match self.known.get_mut(&inode) {
                None => self.look_at(inode, candidate, LookDepth::Full, LookCause::Schedule),
                Some(_) if !is_complete => {}
                Some(known) if known.candidate.paths != candidate.paths => {
                    self.look_at(inode, candidate, LookDepth::Full, LookCause::Schedule);
                }
                Some(known) => known.candidate = candidate,
            }
        }
        if is_complete {
            self.resolve_pending(began);
        }
        let (now, options) = (clock::now(), &self.options);
        let all_cost = clock::thread_cpu().saturating_sub(before);
        self.next_walk = now.after(options.budget.pause(cost, options.process_walk));
        self.walk_ready_at = earliest_repeat(now, all_cost);
        // Walks are frequent, and most of them leave no owner to forget.
        if self.owners.remembered() > self.known.values().map(|known| known.sockets.len()).sum() {
            let alive = self.known.values().flat_map(|known| known.sockets.iter().copied()).collect();
            self.owners.retain(&alive);
        }
        self.report_progress();
    }

    /// Returns true if a process still holds a socket in a netns that has neither a process nor a name, and remembers the
    /// socket as the way there.
    fn is_held_by_a_socket(&mut self, inode: u64) -> bool {
        let Some(known) = self.known.get_mut(&inode).filter(|known| !known.sockets.is_empty()) else {
            return false;
        };
        let is_there = |entry| open(entry).and_then(|file| file.metadata()).is_ok_and(|it| it.ino() == inode);
        if known.candidate.socket.is_some_and(is_there) {
            return true;
        }
        let netns = known.facts.netns;
        let pids = known.candidate.pids.iter().copied().chain(self.owners.pids(&known.sockets));
        let pids: BTreeSet<u32> = pids.collect();
        let entry = pids.iter().find_map(|pid| {
            let (found, entry) = netns_of_sockets(&self.options.proc_root, *pid).remove(&netns)?;
            (found == inode).then_some(entry)
        });
        known.candidate = Candidate { socket: entry, ..Candidate::default() };
        entry.is_some()
    }

    /// Looks at pending netns that no walk finds, because only sockets of processes elsewhere keep them.
    fn look_through_sockets(&mut self) {
        for pid in self.pending.pids() {
            for (netns, (inode, entry)) in netns_of_sockets(&self.options.proc_root, pid) {
                if self.pending.contains(netns) && !self.known.contains_key(&inode) {
                    let candidate = Candidate { socket: Some(entry), ..Candidate::default() };
                    self.look_at(inode, candidate, LookDepth::Full, LookCause::Schedule);
                }
            }
        }
        self.remove_known();
    }

    fn remove_known(&mut self) {
        self.pending.remove_known(&self.known.values().map(|known| known.facts.netns).collect());
    }

    /// Reports pending netns as gone that a complete walk, begun at `began`, did not find. Reports none while a look fails,
    /// since the pending netns may be the one that could not be looked at.
    fn resolve_pending(&mut self, began: BootTime) {
        if self.pending.is_empty() {
            return;
        }
        self.remove_known();
        self.look_through_sockets();
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
}
