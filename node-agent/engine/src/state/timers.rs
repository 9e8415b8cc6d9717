//! Deadlines at which the engine must be called again: one per subject, the earliest first.

use std::collections::{BTreeSet, HashMap};

use crate::model::identity::{BootTime, PodKey, PortId};

/// So much room is not worth giving back.
const SPARE: usize = 1024;

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    Port(PortId),
    Pod(PodKey),
    /// An exception runs out.
    Exceptions,
    /// Connections whose line waits for their end.
    Connections,
    /// What did not fit and is not told yet.
    Refused,
    /// Tombstones, departed pods and netns that ended.
    Sweep,
}

/// The deadlines.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(BootTime, Timer)>,
    due: HashMap<Timer, BootTime>,
}

impl Timers {
    /// Replaces the deadline of `timer`; `None` cancels it.
    pub fn set(&mut self, timer: Timer, at: Option<BootTime>) {
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

    /// Sets the deadline unless an earlier one stands.
    pub fn hasten(&mut self, timer: Timer, at: BootTime) {
        if self.due.get(&timer).is_none_or(|due| *due > at) {
            self.set(timer, Some(at));
        }
    }

    #[must_use]
    pub fn next(&self) -> Option<BootTime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub fn pop_due(&mut self, now: BootTime) -> Option<Timer> {
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
