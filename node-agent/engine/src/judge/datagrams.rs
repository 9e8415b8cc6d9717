//! Decides whether a UDP port serves or is a client's, and how long its first report waits for the facts that tell.

use std::time::Duration;

use crate::judge::port::{Outcome, PortJudge};
use crate::model::change::Change;
use crate::model::identity::{BootTime, Protocol};
use crate::state::bindings::Bindings;
use crate::state::direction::Role;
use crate::state::netns::Netns;

/// Maximum time that the first report of a UDP port waits for a scan, which tells who holds the socket: a socket of the
/// kernel is opened in the context of the process that configures it.
const SCAN_HOLD: Duration = Duration::from_secs(1);

/// Maximum time that the first report of a UDP port waits for a drain, which tells whether the port addressed somebody.
/// Twice the interval of drains.
const DRAIN_HOLD: Duration = Duration::from_secs(2);

/// A drain tells whether the port addresses others only if the process had this long to send: a client that starts on a busy
/// node binds some time before it sends. With an interval of drains it is less than [`DRAIN_HOLD`].
const TIME_TO_ASK: Duration = Duration::from_millis(500);

/// Where no program observes who spoke first: minimum age at which an ephemeral port can count as a server's.
const EPHEMERAL_PROOF: Duration = Duration::from_secs(5);

impl PortJudge<'_> {
    /// Decides what a UDP port is. Returns what happens to a port that is not to be reported, or not yet.
    ///
    /// A port that was called serves. One that addressed others and got nothing but answers is a client's: it is hidden,
    /// unless it is older than the agent, and may have been called before: then it is unproven. One that did neither waits
    /// to be called; in the ephemeral range it is unproven. Declared and explained ports are servers.
    pub(crate) fn settle_datagrams(&mut self, bindings: &Bindings) -> Option<Outcome> {
        self.port.unproven = false;
        if self.id.protocol != Protocol::Udp || self.port.is_forwarded() {
            return None;
        }
        let role = self.port.role(bindings, self.context.options.grace);
        let is_expected = self.port.status.is_expected();
        let is_first = self.port.reported.is_none();
        if is_first && let Some(due) = self.first_report_hold(role == Role::Server || is_expected) {
            return Some(Outcome::Keep(Some(due)));
        }
        if is_expected {
            return None;
        }
        let (is_client, unproven) = if self.context.options.knows_direction {
            let is_old = role == Role::Client && self.is_older_than_the_agent(bindings);
            (role == Role::Client && !is_old, is_old || role == Role::Waiting && self.is_ephemeral())
        } else {
            (false, self.is_ephemeral() && !self.is_proven(bindings))
        };
        // A port that an earlier run took for a server's is one.
        self.port.unproven = unproven && self.port.earlier.is_none();
        // A socket that was never called and is closed again served nobody. Most are clients' that connect.
        let is_over = is_first && self.port.sockets.is_empty() && role != Role::Server;
        if !is_client && !is_over {
            return None;
        }
        self.hide();
        if !self.port.sockets.is_empty() {
            return Some(Outcome::Keep(None));
        }
        self.keep_age();
        self.forget_remembered();
        Some(Outcome::Drop)
    }

    /// Returns until when the first report waits, at most as long as for a pod. `is_clear`: nobody needs to know whether
    /// the port addressed others.
    fn first_report_hold(&mut self, is_clear: bool) -> Option<BootTime> {
        let now = self.context.now;
        if self.port.sockets.is_empty() {
            return self.last_traffic_until(self.port.closed_at.get().unwrap_or(now));
        }
        let heard_at = self.port.first_heard_at;
        let options = self.context.options;
        let awaits_scan = self.port.scanned_at.get().is_none();
        let is_drained = self.index.last_drain() >= Some(heard_at.after(TIME_TO_ASK));
        let awaits_drain = !is_clear && options.knows_direction && options.traffic_drained && !is_drained;
        if awaits_scan && !std::mem::replace(&mut self.port.scan_requested, true) {
            self.context.outbox.push(Change::Scan(self.id.netns));
        }
        let holds = [(awaits_scan, SCAN_HOLD), (awaits_drain, DRAIN_HOLD)];
        let most = options.attribution_hold;
        let holds =
            holds.into_iter().filter(|(awaits, _)| *awaits).map(|(_, hold)| heard_at.after(hold.min(most)));
        holds.filter(|due| now < *due).min()
    }

    /// True if a socket of the port was there when its netns was first scanned.
    fn is_older_than_the_agent(&self, bindings: &Bindings) -> bool {
        let netns = self.context.facts.netns.get(self.id.netns);
        let first_scan = netns.and_then(Netns::first_scanned_at);
        bindings.opened_at.get().is_none() && first_scan.is_none_or(|at| bindings.first_at <= at)
    }

    /// True for a port in the ephemeral range of its netns.
    fn is_ephemeral(&self) -> bool {
        self.context.facts.netns.facts(self.id.netns).is_some_and(|facts| {
            let (first, last) = facts.ephemeral_ports;
            (first..=last).contains(&self.id.port.get())
        })
    }

    /// True for a port that stayed open and to which several peers sent. Without the direction nothing proves more.
    fn is_proven(&self, bindings: &Bindings) -> bool {
        let stayed =
            self.port.scanned_at.get().is_some_and(|at| at >= bindings.first_at.after(EPHEMERAL_PROOF));
        stayed && self.port.traffic().is_called_by_several()
    }
}
