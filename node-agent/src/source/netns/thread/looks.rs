//! Looks at netns that are due, and sends what was found to the engine.

use std::io;
use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::model::process::Holder;
use portolan_engine::model::socket::{NetnsScan, ScannedSocket};

use super::NetnsThread;
use crate::source::clock;
use crate::source::netns::NetnsOptions;
use crate::source::netns::budget::earliest_repeat;
use crate::source::netns::candidates::Candidate;
use crate::source::netns::known_netns::{EARLY_LOOKS_MS, KnownNetns, LookDepth};
use crate::source::netns::look::{Look, Omitted};
use crate::source::netns::visit::Visited;
use crate::source::process::owners::SearchScope;
use crate::source::scan::SocketList;

/// Pause between two scans of a netns in which the kernel serves a port itself: no hook reports the end of its sockets.
const KERNEL_SOCKETS_EVERY: Duration = Duration::from_secs(5);
/// Longest pause before the next look after a failed one.
const RETRY_LOOK: Duration = Duration::from_secs(3);

/// The looks after a spared one begin at multiples of this, so that many new netns wake the thread together.
const SPARED_STEP_NS: u64 = 50_000_000;

/// Why a netns is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookCause {
    /// It is new, its turn has come, or all netns are scanned.
    Schedule,
    /// A scan of its sockets was requested.
    Request,
}

impl NetnsThread {
    /// Returns the netns of the rotation that has waited longest, if the pace allows a look at it now.
    fn next_in_rotation(&self) -> Option<u64> {
        let rotating = self.known.iter().filter(|(_, known)| known.is_rotating());
        let (inode, first) = rotating.min_by_key(|(_, known)| known.next_look)?;
        (first.due(self.schedule.pace) <= clock::now()).then_some(*inode)
    }

    /// Looks at every netns that is due, or at all of them; at most one of them because of the rotation.
    pub(super) fn look_at_due(&mut self, all: bool) {
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
            let is_light = is_early && has_socket_events;
            let depth = if is_light { LookDepth::Interfaces } else { LookDepth::Full };
            (known.next_look <= now).then_some(depth)
        };
        let due: Vec<(u64, LookDepth)> =
            self.known.iter().filter_map(|(inode, known)| Some((*inode, depth(*inode, known)?))).collect();
        for (inode, depth) in due {
            if self.is_stopping {
                return;
            }
            if depth == LookDepth::Interfaces && self.spares_look(inode) {
                continue;
            }
            let Some(candidate) = self.known.get(&inode).map(|known| known.candidate.clone()) else {
                continue;
            };
            self.look_at(inode, candidate, depth, LookCause::Schedule);
        }
    }

    /// Returns true if nothing changed in a netns since its last look. The look then counts as done.
    fn spares_look(&mut self, inode: u64) -> bool {
        let count = self.known.len().saturating_sub(1);
        let Some(known) = self.known.get_mut(&inode).filter(|known| known.has_nothing_new()) else {
            return false;
        };
        known.looks += 1;
        let NetnsOptions { budget, rotation, .. } = self.options;
        let next = self.schedule.next_look(known.looks, clock::now(), count, budget, rotation);
        known.next_look = BootTime(next.0.next_multiple_of(SPARED_STEP_NS));
        true
    }

    /// Looks at one netns and reports what was found.
    pub(super) fn look_at(&mut self, inode: u64, candidate: Candidate, depth: LookDepth, cause: LookCause) {
        let (at, before) = (clock::now(), clock::thread_cpu());
        let known = self.known.get(&inode);
        let was_rotating = cause == LookCause::Schedule && known.is_some_and(KnownNetns::is_rotating);
        match self.visitor.look(inode, &candidate, depth, known) {
            Ok(visited) => {
                if visited.sockets.is_some() {
                    self.visitor.actor.scanned(clock::now().since(at));
                }
                self.learn(inode, candidate, visited, cause, at);
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
                    known.notifications = None;
                    // The look that follows reads the same.
                    known.waiting.scan = None;
                }
                self.walk_soon();
            }
        }
        let (cost, now) = (clock::thread_cpu().saturating_sub(before), clock::now());
        self.schedule.looked(now, cost, was_rotating, self.known.len(), self.options.budget);
        let walked = std::mem::take(&mut self.walked);
        self.requests.spend(now, if cause == LookCause::Request { cost } else { walked });
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
    fn learn(&mut self, inode: u64, candidate: Candidate, visited: Visited, cause: LookCause, at: BootTime) {
        let Visited { look, sockets, failure, has_actor_steps, may_forward, notifications } = visited;
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
        let mut known = before.unwrap_or_else(|| KnownNetns::new(candidate.clone(), look.facts.clone()));
        if known.is_new || cause == LookCause::Schedule {
            known.looks = if known.is_new { 0 } else { known.looks + 1 };
            let NetnsOptions { budget, rotation, .. } = self.options;
            known.next_look = self.schedule.next_look(known.looks, at, self.known.len(), budget, rotation);
        }
        let is_kept = !known.is_rotating() && !known.candidate.paths.is_empty();
        known.notifications = if !is_kept { None } else { known.notifications.or(notifications) };
        if cause == LookCause::Request || sockets.is_some() {
            known.waiting.scan = None;
        }
        if let Some(listed) = sockets {
            self.report_sockets(inode, &mut known, listed, at);
        }
        let has_several = look.interfaces.len() > 1;
        known.forwarding.looked(may_forward, has_several, cause == LookCause::Schedule, at);
        let has_name = !candidate.paths.is_empty();
        known.is_new = false;
        (known.candidate, known.facts, known.omitted) = (candidate, look.facts, look.omitted);
        self.known.insert(inode, known);
        if has_actor_steps {
            self.actor_queue.push(inode, has_name);
        }
        self.report_progress();
    }

    /// Sends the scan of one netns to the engine, with the holders of the sockets. If a walk for holders is put off, the netns
    /// waits for another scan.
    fn report_sockets(&mut self, inode: u64, known: &mut KnownNetns, listed: SocketList, at: BootTime) {
        let SocketList { sockets, unparsable } = listed;
        self.report_loss("sockets-unparsable", unparsable);
        known.sockets = sockets.iter().map(|socket| socket.cookie).collect();
        let now = clock::now();
        let may_walk = self.requests.is_ready(now);
        let (near, is_host) = (known.candidate.pids.as_slice(), known.facts.is_host);
        let scope = SearchScope { near, netns: Some(inode), is_host, now, may_walk };
        let outcome = self.owners.find(&sockets, scope);
        self.walked += outcome.walk_cost;
        let netns = known.facts.netns;
        let sockets: Vec<ScannedSocket> =
            sockets.iter().map(|socket| socket.in_netns(netns, self.owners.holder(socket))).collect();
        let has_kernel_sockets = sockets.iter().any(|socket| socket.holder == Holder::Kernel);
        known.waiting.scan = if outcome.is_put_off {
            Some(now)
        } else {
            has_kernel_sockets.then(|| now.after(KERNEL_SOCKETS_EVERY))
        };
        self.send(Input::NetnsScanned(NetnsScan { netns, at, sockets }));
    }

    /// Reports omitted interfaces and addresses as lost, as far as they were not reported before: looks repeat.
    fn report_omitted(&mut self, before: Omitted, look: &Look) {
        let Omitted { interfaces, addresses } = look.omitted;
        if !look.facts.is_host {
            self.report_loss("netns-interfaces-full", interfaces.saturating_sub(before.interfaces));
        }
        self.report_loss("netns-addresses-full", addresses.saturating_sub(before.addresses));
    }

    /// Runs one step of the actor in the netns that has waited longest.
    pub(super) fn run_actor_step(&mut self) {
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
                known.notifications = None;
            }
        }
    }
}
