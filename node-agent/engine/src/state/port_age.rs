//! Since when a port is served. A gap between two sockets that is no longer than the grace time does not reset the age,
//! so a workload cannot stay below the grace time by reopening its socket.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::identity::{BootTime, PortId};

/// So much room is not worth giving back.
const SPARE: usize = 256;

/// Since when a port is served, and when a socket of it ended last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortAge {
    since: Option<BootTime>,
    closed_at: Option<BootTime>,
}

impl PortAge {
    /// The sockets of now serve since `first`: says since when the port is served, breaks no longer than `patience` aside.
    pub fn continue_from(&mut self, first: BootTime, max_gap: Duration) -> BootTime {
        let unbroken = self.closed_at.is_some_and(|closed| first <= closed.after(max_gap));
        let since = self.since.filter(|_| unbroken).map_or(first, |since| since.min(first));
        self.since = Some(since);
        since
    }

    /// A socket that served it meanwhile, or before, is told late: says since when the port is served then.
    pub fn record_closed(&mut self, first: BootTime, closed: BootTime, max_gap: Duration) -> BootTime {
        let since = self.since.unwrap_or(first);
        let since = if since <= closed.after(max_gap) { since.min(first) } else { since };
        self.since = Some(since);
        self.mark_closed(closed);
        since
    }

    /// A socket of it ended.
    pub fn mark_closed(&mut self, at: BootTime) {
        self.closed_at = self.closed_at.max(Some(at));
    }
}

/// Tenures of ports that closed a moment ago and are kept no more, bounded.
#[derive(Debug)]
pub struct PortAges {
    /// With the time at which each is forgotten.
    of: HashMap<PortId, (BootTime, PortAge)>,
    order: VecDeque<(BootTime, PortId)>,
    max: usize,
}

impl PortAges {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { of: HashMap::new(), order: VecDeque::new(), max }
    }

    /// Keeps it until then; false if there is no room.
    pub fn keep(&mut self, id: PortId, age: PortAge, until: BootTime) -> bool {
        let room = self.order.len() < self.max;
        if room {
            self.of.insert(id, (until, age));
            self.order.push_back((until, id));
        }
        room
    }

    /// That of a port which is kept again.
    pub fn take(&mut self, id: PortId) -> PortAge {
        self.of.remove(&id).map(|(_, age)| age).unwrap_or_default()
    }

    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.order.front().map(|(at, _)| *at)
    }

    pub fn sweep(&mut self, now: BootTime) {
        while let Some((until, id)) = self.order.pop_front_if(|(at, _)| *at <= now) {
            if self.of.get(&id).is_some_and(|(kept_until, _)| *kept_until <= until) {
                self.of.remove(&id);
            }
        }
        if self.of.capacity() > 4 * self.of.len() + SPARE {
            self.of.shrink_to(2 * self.of.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_nanos(5);

    #[test]
    fn breaks_up_to_the_patience_change_nothing_and_longer_ones_begin_anew() {
        for (closed, first, since) in [(10, 9, 1), (10, 10, 1), (10, 15, 1), (10, 16, 16), (0, 1, 1)] {
            let mut age = PortAge::default();
            assert_eq!(age.continue_from(BootTime(1), GRACE), BootTime(1));
            age.mark_closed(BootTime(closed));
            assert_eq!(age.continue_from(BootTime(first), GRACE), BootTime(since), "{closed} {first}");
        }
    }

    #[test]
    fn what_is_told_late_counts_unless_a_break_lies_between() {
        let mut age = PortAge::default();
        age.continue_from(BootTime(90), GRACE);
        assert_eq!(age.continue_from(BootTime(80), GRACE), BootTime(80));
        assert_eq!(age.record_closed(BootTime(10), BootTime(74), GRACE), BootTime(80));
        assert_eq!(age.record_closed(BootTime(20), BootTime(75), GRACE), BootTime(20));
        assert_eq!(age.record_closed(BootTime(30), BootTime(31), GRACE), BootTime(20));
    }
}
