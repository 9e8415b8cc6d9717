//! Deadlines at which the engine must be called again: one per subject, the earliest first.

use std::collections::{BTreeSet, HashMap};

use crate::model::identity::{BootTime, PodKey, PortId};

/// Spare capacity that is not worth giving back.
const SPARE: usize = 1024;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// Judging a port.
    Port(PortId),
    /// Checking a pod.
    Pod(PodKey),
    /// The expiry of an exception.
    Exceptions,
    /// The end of a connection's hold.
    Connections,
    /// The next request to list connections.
    ConnectionLists,
    /// The next repetition of a finding.
    Repeats,
    /// The report of facts that did not fit.
    Refused,
    /// The expiry of tombstones, deleted pods, ended netns and ages.
    Sweep,
}

/// The deadlines, at most one per timer.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(BootTime, Timer)>,
    due: HashMap<Timer, BootTime>,
}

impl Timers {
    /// Replaces the deadline of `timer`; `None` cancels it.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<BootTime>) {
        let before = match at {
            Some(at) => self.due.insert(timer, at),
            None => self.due.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    /// Sets the deadline of `timer` unless an earlier one is set.
    pub(crate) fn hasten(&mut self, timer: Timer, at: BootTime) {
        if self.due.get(&timer).is_none_or(|due| *due > at) {
            self.set(timer, Some(at));
        }
    }

    /// Returns the earliest deadline.
    #[must_use]
    pub(crate) fn next(&self) -> Option<BootTime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop_due(&mut self, now: BootTime) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&(at, timer));
        self.due.remove(&timer);
        if self.due.capacity() > 4 * self.due.len() + SPARE {
            self.due.shrink_to(2 * self.due.len());
        }
        Some(timer)
    }
}
