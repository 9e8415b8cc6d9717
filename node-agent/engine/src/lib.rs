//! The decisions of one node: sockets, pods and declarations in, findings out. Nothing here does IO, reads a clock,
//! spawns, locks or fails; the same facts in any order end in the same state.
//!
//! Folders, in this order: `model` → `rules` → `state` → `engine` → `read` → `judge` → `apply`. A file imports only from
//! its own folder and from folders to its left, and no files import each other in a circle.
#![forbid(unsafe_code)]

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
    /// Takes one fact in and says what it changed.
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
            Input::Lost { reason, count, recovered } => self.lost(reason, count, recovered),
        }
        self.finish(now)
    }

    /// Does what is due by now.
    pub fn tick(&mut self, now: BootTime) -> Vec<Change> {
        self.tick_some(usize::MAX, now)
    }

    /// The same for as many deadlines at most: what is told of thousands of ports at once would take its room at once, too.
    pub fn tick_some(&mut self, most: usize, now: BootTime) -> Vec<Change> {
        for _ in 0..most {
            let Some(timer) = self.timers.pop_due(now) else { break };
            match timer {
                Timer::Port(port) => self.judge(port, now),
                Timer::Pod(pod) => self.check_pod(pod, now),
                Timer::Exceptions => self.exceptions_expired(now),
                Timer::Connections => self.emit_held_connections(now),
                // Told below.
                Timer::Refused => {}
                Timer::Sweep => self.sweep(now),
            }
            self.emit_storms(now);
        }
        self.finish(now)
    }

    /// When `tick` has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.timers.next()
    }

    fn sweep(&mut self, now: BootTime) {
        self.sockets.sweep(now);
        self.netns.sweep(now);
        self.port_ages.sweep(now);
        self.addresses.sweep(now, &self.pods);
        let orphans = self.pods.sweep(now);
        for orphan in &orphans {
            self.settle_claim(orphan.netns);
        }
        self.dirty.extend(orphans);
    }

    /// Settles what the call touched and hands the changes over.
    fn finish(&mut self, now: BootTime) -> Vec<Change> {
        if !self.dirty.is_empty() {
            // Also what is judged the same may be shown differently: how many sockets, whose names.
            self.bump_generation();
        }
        while let Some(port) = self.dirty.pop_first() {
            self.judge(port, now);
            self.emit_storms(now);
        }
        self.emit_refused(now);
        let expiries = [
            self.sockets.next_expiry(),
            self.netns.next_expiry(),
            self.port_ages.next_expiry(),
            self.pods.next_expiry(),
            self.addresses.next_expiry(),
        ];
        let next = expiries.into_iter().flatten().min();
        self.timers.set(Timer::Sweep, next);
        std::mem::take(&mut self.out)
    }
}
