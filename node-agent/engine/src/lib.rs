//! The decision engine of one node: takes facts about sockets, pods and policies, and returns listeners and findings.
//! Does no IO, reads no clock, spawns and locks nothing, and cannot fail. The same facts in any order end in the same
//! state.
//!
//! Folders from left to right; a file imports only from its own folder and from those to its left, and no files import
//! each other in a circle: `model` (plain data, inputs and changes), `rules` (pure functions), `state` (one index a
//! file), `engine` (the parts of the state), `read` (queries, rendering), `judge` (what to report), `apply` (inputs).
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub)]

mod apply;
mod engine;
mod judge;
pub mod model;
pub mod read;
pub mod rules;
mod state;

pub use engine::Engine;

use model::change::Change;
use model::identity::BootTime;
use model::input::Input;
use state::timers::Timer;

impl Engine {
    /// Applies one fact. Returns the changes that follow from it.
    pub fn apply(&mut self, input: Input, now: BootTime) -> Vec<Change> {
        match input {
            Input::SocketOpened(opened) => self.socket_opened(opened, now),
            Input::SocketClosed { netns, cookie, at } => self.socket_closed(netns, cookie, at, now),
            Input::NetnsScanned(scan) => self.netns_scanned(scan, now),
            Input::NetnsSeen { facts, at } => self.netns_seen(facts, at, now),
            Input::NetnsGone { netns, at } => self.netns_gone(netns, at, now),
            Input::Pods { source, pods } => self.pods_listed(source, pods, now),
            Input::PodChanged { source, pod } => self.pod_changed(source, *pod, now),
            Input::PodGone { source, uid } => self.pod_gone(source, &uid, now),
            Input::Services(listing) => self.services_listed(listing, now),
            Input::NetworkPolicies(listing) => self.policies_listed(listing, now),
            Input::Namespaces(listing) => self.namespaces_listed(listing, now),
            Input::Exceptions(rules) => self.exceptions_listed(rules, now),
            Input::Traffic(drain) => self.traffic_drained(drain, now),
            Input::Connections(facts) => self.connections_recorded(&facts, now),
            Input::ConnectionsListed(list) => self.connections_listed(&list, now),
            Input::Forwarded(forwarded) => self.ports_forwarded(forwarded, now),
            Input::Remembered(findings) => self.findings_remembered(findings, now),
            Input::Lost { reason, count, recovered } => self.lost(reason, count, recovered),
        }
        self.finish(now)
    }

    /// Runs every timer that is due by `now`. Returns the changes that follow.
    pub fn tick(&mut self, now: BootTime) -> Vec<Change> {
        self.tick_some(usize::MAX, now)
    }

    /// Runs at most `most` due timers, which bounds the number of changes returned at once.
    pub fn tick_some(&mut self, most: usize, now: BootTime) -> Vec<Change> {
        for _ in 0..most {
            let Some(timer) = self.agenda.pop_due(now) else { break };
            match timer {
                Timer::Port(port) => self.judge(port, now),
                Timer::Pod(pod) => self.check_pod(pod, now),
                Timer::Exceptions => self.exceptions_expired(now),
                Timer::Connections => self.emit_held_connections(now),
                Timer::ConnectionLists => self.request_connection_lists(now),
                Timer::Repeats => self.repeat_findings(now),
                // `finish` reports the facts that did not fit.
                Timer::Refused => {}
                Timer::Sweep => self.sweep(now),
            }
            self.emit_storms(now);
        }
        self.finish(now)
    }

    /// Returns when [`Self::tick`] has something to do next; `None` if nothing is scheduled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.agenda.next_deadline()
    }

    /// Forgets expired state.
    fn sweep(&mut self, now: BootTime) {
        self.ports.index_mut().sweep(now);
        self.findings.remembered.sweep(now);
        let orphans = self.facts.sweep(now);
        self.agenda.judge_all(orphans);
    }

    /// Judges the ports that the call touched, sets the deadlines, and returns the changes.
    fn finish(&mut self, now: BootTime) -> Vec<Change> {
        if self.agenda.has_ports() {
            // A port whose verdict stays the same may still look different in a listing: its sockets, its names.
            self.outbox.touch();
        }
        loop {
            while let Some(port) = self.agenda.next_port() {
                self.judge(port, now);
                self.emit_storms(now);
            }
            // Both may touch ports again.
            if !self.count_folded(now) && !self.apply_decided_connections(now) && !self.agenda.has_ports() {
                break;
            }
        }
        self.agenda.set(Timer::Repeats, self.findings.next_repeat());
        if let Some(due) = self.outbox.emit_refused(now) {
            self.agenda.set(Timer::Refused, Some(due));
        }
        let remembered = self.findings.remembered.next_expiry();
        let expiries = [self.facts.next_expiry(), self.ports.index().next_expiry(), remembered];
        self.agenda.set(Timer::Sweep, expiries.into_iter().flatten().min());
        self.outbox.take_changes()
    }
}
