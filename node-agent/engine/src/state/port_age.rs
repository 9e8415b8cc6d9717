//! Since when a port is served. A gap between two sockets that is no longer than the grace time does not reset the age,
//! so a workload cannot stay below the grace time by reopening its socket.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::identity::{BootTime, PortId};
use crate::state::moment::Moment;

/// Spare capacity that is not worth giving back.
const SPARE: usize = 256;

/// Since when a port is served, and when one of its sockets last closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortAge {
    since: Moment,
    closed_at: Moment,
}

impl PortAge {
    /// Notes that the present sockets serve since `first`. Returns since when the port is served, ignoring gaps up to
    /// `max_gap`.
    pub(crate) fn continue_from(&mut self, first: BootTime, max_gap: Duration) -> BootTime {
        let unbroken = self.closed_at.get().is_some_and(|closed| first <= closed.after(max_gap));
        let since = self.since.get().filter(|_| unbroken).map_or(first, |since| since.min(first));
        self.since = since.into();
        since
    }

    /// Notes a socket that served from `first` to `closed` and is reported late. Returns since when the port is
    /// served.
    pub(crate) fn record_closed(&mut self, first: BootTime, closed: BootTime, max_gap: Duration) -> BootTime {
        let since = self.since.get().unwrap_or(first);
        let since = if since <= closed.after(max_gap) { since.min(first) } else { since };
        self.since = since.into();
        self.mark_closed(closed);
        since
    }

    /// Notes that a socket closed.
    pub(crate) fn mark_closed(&mut self, at: BootTime) {
        self.closed_at.raise(Some(at));
    }
}

/// Ages of ports that closed recently and left the table, bounded.
#[derive(Debug)]
pub(crate) struct PortAges {
    /// Ages by port, with the time at which each is forgotten.
    of: HashMap<PortId, (BootTime, PortAge)>,
    order: VecDeque<(BootTime, PortId)>,
    /// Maximum number of ages.
    max: usize,
}

impl PortAges {
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self { of: HashMap::new(), order: VecDeque::new(), max }
    }

    /// Remembers an age until then. Returns false if there is no room.
    pub(crate) fn keep(&mut self, id: PortId, age: PortAge, until: BootTime) -> bool {
        let room = self.order.len() < self.max;
        if room {
            self.of.insert(id, (until, age));
            self.order.push_back((until, id));
        }
        room
    }

    /// Takes the remembered age of a port that is kept again.
    pub(crate) fn take(&mut self, id: PortId) -> PortAge {
        self.of.remove(&id).map(|(_, age)| age).unwrap_or_default()
    }

    /// Returns when [`Self::sweep`] has something to forget next.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.order.front().map(|(at, _)| *at)
    }

    /// Forgets expired ages.
    pub(crate) fn sweep(&mut self, now: BootTime) {
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
    fn gaps_up_to_the_limit_keep_the_age_and_longer_ones_end_it() {
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
