//! How long a port has been served. Sockets come and go: who opens the next one before the last is closed, or within a grace
//! time after it, does not make the port younger, so that nobody stays below the grace time by taking turns.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::identity::{BootTime, PortId};

/// So much room is not worth giving back.
const SPARE: usize = 256;

/// Since when a port is served, and when a socket of it ended last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    since: Option<BootTime>,
    left_at: Option<BootTime>,
}

impl Tenure {
    /// The sockets of now serve since `first`: says since when the port is served, breaks no longer than `patience` aside.
    pub fn go_on(&mut self, first: BootTime, patience: Duration) -> BootTime {
        let unbroken = self.left_at.is_some_and(|left| first <= left.after(patience));
        let since = self.since.filter(|_| unbroken).map_or(first, |since| since.min(first));
        self.since = Some(since);
        since
    }

    /// A socket that served it meanwhile, or before, is told late: says since when the port is served then.
    pub fn learn(&mut self, first: BootTime, left: BootTime, patience: Duration) -> BootTime {
        let since = self.since.unwrap_or(first);
        let since = if since <= left.after(patience) { since.min(first) } else { since };
        self.since = Some(since);
        self.leave(left);
        since
    }

    /// A socket of it ended.
    pub fn leave(&mut self, at: BootTime) {
        self.left_at = self.left_at.max(Some(at));
    }
}

/// Tenures of ports that closed a moment ago and are kept no more, bounded.
#[derive(Debug)]
pub struct Tenures {
    /// With the time at which each is forgotten.
    of: HashMap<PortId, (BootTime, Tenure)>,
    order: VecDeque<(BootTime, PortId)>,
    max: usize,
}

impl Tenures {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { of: HashMap::new(), order: VecDeque::new(), max }
    }

    /// Keeps it until then; false if there is no room.
    pub fn keep(&mut self, id: PortId, tenure: Tenure, until: BootTime) -> bool {
        let room = self.order.len() < self.max;
        if room {
            self.of.insert(id, (until, tenure));
            self.order.push_back((until, id));
        }
        room
    }

    /// That of a port which is kept again.
    pub fn resume(&mut self, id: PortId) -> Tenure {
        self.of.remove(&id).map(|(_, tenure)| tenure).unwrap_or_default()
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
        for (left, first, since) in [(10, 9, 1), (10, 10, 1), (10, 15, 1), (10, 16, 16), (0, 1, 1)] {
            let mut tenure = Tenure::default();
            assert_eq!(tenure.go_on(BootTime(1), GRACE), BootTime(1));
            tenure.leave(BootTime(left));
            assert_eq!(tenure.go_on(BootTime(first), GRACE), BootTime(since), "{left} {first}");
        }
    }

    #[test]
    fn what_is_told_late_counts_unless_a_break_lies_between() {
        let mut tenure = Tenure::default();
        tenure.go_on(BootTime(90), GRACE);
        assert_eq!(tenure.go_on(BootTime(80), GRACE), BootTime(80));
        assert_eq!(tenure.learn(BootTime(10), BootTime(74), GRACE), BootTime(80));
        assert_eq!(tenure.learn(BootTime(20), BootTime(75), GRACE), BootTime(20));
        assert_eq!(tenure.learn(BootTime(30), BootTime(31), GRACE), BootTime(20));
    }
}
