//! What remains to be done: the ports to judge before the current call ends, and the deadlines after it.

use std::collections::BTreeSet;

use crate::model::identity::{BootTime, PortId};
use crate::state::timers::{Timer, Timers};

/// Ports to judge and deadlines to keep.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    dirty: BTreeSet<PortId>,
    timers: Timers,
}

impl Agenda {
    /// Schedules a port to be judged before the call ends.
    pub(crate) fn judge(&mut self, port: PortId) {
        self.dirty.insert(port);
    }

    /// The same for several ports.
    pub(crate) fn judge_all(&mut self, ports: impl IntoIterator<Item = PortId>) {
        self.dirty.extend(ports);
    }

    /// Forgets that a port is to be judged, because the caller judges it now.
    pub(crate) fn skip(&mut self, port: PortId) {
        self.dirty.remove(&port);
    }

    /// Takes the next port to judge, in the order of ids.
    pub(crate) fn next_port(&mut self) -> Option<PortId> {
        self.dirty.pop_first()
    }

    /// True if a port waits to be judged.
    pub(crate) fn has_ports(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Replaces the deadline of `timer`; `None` cancels it.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<BootTime>) {
        self.timers.set(timer, at);
    }

    /// Sets the deadline of `timer` unless an earlier one is set.
    pub(crate) fn hasten(&mut self, timer: Timer, at: BootTime) {
        self.timers.hasten(timer, at);
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop_due(&mut self, now: BootTime) -> Option<Timer> {
        self.timers.pop_due(now)
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<BootTime> {
        self.timers.next()
    }
}
