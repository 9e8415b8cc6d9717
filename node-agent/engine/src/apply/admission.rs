//! Admits ports and sockets into the bounded tables. One netns may occupy at most half of a table. All netns that no
//! pod's path claims may together occupy at most a quarter, so a pod that creates netns leaves a quarter to the others.

use crate::engine::Engine;
use crate::model::change::Change;
use crate::model::identity::{BootTime, PortId};
use crate::state::quota::Usage;

impl Engine {
    /// Adds the port unless it is in the table. Returns false if a cap forbids it.
    pub(crate) fn admit_port(&mut self, id: PortId, now: BootTime) -> bool {
        if self.ports.contains(id) {
            return true;
        }
        self.facts.netns.entry(id.netns);
        self.facts.settle_claim(id.netns);
        let max = self.options.max_listeners;
        if self.ports.len() >= max || self.facts.netns.quota_left(id.netns, max, |usage| usage.ports) == 0 {
            self.refuse_port("engine-listeners-full", id);
            return false;
        }
        self.facts.netns.charge(id.netns, Usage { ports: 1, ..Usage::default() });
        self.ports.insert(id, now);
        true
    }

    /// Adds a port that only a rule of its netns leads to, unless it is in the table. Such ports may occupy half of the
    /// netns's share: a rule may cover every port, and callers may try them all.
    pub(crate) fn admit_forwarded_port(&mut self, id: PortId, now: BootTime) -> bool {
        let max = self.options.max_listeners;
        if !self.ports.contains(id) {
            self.facts.netns.entry(id.netns);
            self.facts.settle_claim(id.netns);
            if self.facts.netns.quota_left(id.netns, max, |usage| usage.ports) <= max.div_ceil(4) / 2 {
                self.refuse_port("engine-listeners-full", id);
                return false;
            }
        }
        self.admit_port(id, now)
    }

    /// Admits one more socket of a port, and the port itself. Returns false if a cap forbids it.
    pub(crate) fn admit_socket(&mut self, id: PortId, now: BootTime) -> bool {
        self.facts.settle_claim(id.netns);
        if self.facts.netns.quota_left(id.netns, self.facts.sockets.max(), |usage| usage.sockets) == 0 {
            self.refuse_port("engine-sockets-full", id);
            return false;
        }
        let room = self.admit_port(id, now);
        if room {
            self.facts.netns.charge(id.netns, Usage { sockets: 1, ..Usage::default() });
        }
        room
    }

    /// Counts a port or socket that did not fit. Asks the kernel side to stop counting the port unless it is kept for
    /// its other sockets.
    pub(crate) fn refuse_port(&mut self, reason: &'static str, id: PortId) {
        self.outbox.refuse(reason);
        if !self.ports.contains(id) {
            self.outbox.push(Change::Unwatch(id));
        }
        self.facts.netns.prune(id.netns);
    }
}
