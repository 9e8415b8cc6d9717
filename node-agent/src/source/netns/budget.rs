//! Pauses between repeated work. The cost of the work sets the pause, so that a large node pays no larger share of a core than
//! a small one, and a pod cannot keep the agent busy with one netns.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// The CPU time that repeated work may take, and the longest pause that follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of one core. Must be above zero.
    pub share: f64,
    /// Longest pause, whatever the work costs.
    pub longest: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { share: 0.003, longest: Duration::from_secs(120) }
    }
}

impl Budget {
    /// Budget for an agent without kernel programs, where repeated looks are the only source of changes.
    pub const SCAN_ONLY: Self = Self { share: 0.03, longest: Duration::from_secs(60) };

    /// Returns the pause after work that cost `cost`: at least `least`, at most [`Self::longest`] or `least` if that is longer.
    #[must_use]
    pub fn pause(&self, cost: Duration, least: Duration) -> Duration {
        let longest = self.longest.max(least);
        let wanted = cost.as_secs_f64() / self.share;
        Duration::try_from_secs_f64(wanted).map_or(longest, |wanted| wanted.clamp(least, longest))
    }
}

/// The pace of the rotation. The cost of each look sets the pause before the next one, since many looks that are due at once
/// each cost more than the earlier ones predict.
#[derive(Clone, Copy, Debug, Default)]
pub struct RotationPace {
    ready_at: BootTime,
}

impl RotationPace {
    /// Returns when the next look of the rotation may begin.
    #[must_use]
    pub const fn ready_at(self) -> BootTime {
        self.ready_at
    }

    /// Records a look of the rotation that ended at `now` and cost `cost`. None of the `count` netns waits longer than
    /// [`Budget::longest`].
    pub fn looked(&mut self, now: BootTime, cost: Duration, count: usize, budget: Budget) {
        let longest = budget.longest / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        self.ready_at = now.after(Budget { longest, ..budget }.pause(cost, Duration::ZERO));
    }
}

/// Pause after work on request, as a multiple of its cost. Pods can cause requests, so the factor limits each netns to a tenth
/// of a core.
const REQUEST_PAUSE_FACTOR: u32 = 9;

/// Returns the earliest time at which work that ended at `ended` and cost `cost` may be repeated on request: at most one second
/// later.
#[must_use]
pub fn earliest_repeat(ended: BootTime, cost: Duration) -> BootTime {
    ended.after(cost.saturating_mul(REQUEST_PAUSE_FACTOR).min(Duration::from_secs(1)))
}

/// Share of one core that all work on request may take together, as the divisor of a core: scans on request, walks over
/// /proc for the holders of sockets, lists of connections, reads of connection tracking.
const REQUESTS_SHARE: u32 = 30;
/// Time without requests that counts for later ones, so that single requests do not wait.
const REQUESTS_SAVED: Duration = Duration::from_secs(1);

/// The budget of all work on request over all netns together. Pods can cause any number of requests; what the budget does
/// not allow waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestBudget {
    ready_at: BootTime,
}

impl RequestBudget {
    /// Returns when work may begin.
    #[must_use]
    pub const fn ready_at(self) -> BootTime {
        self.ready_at
    }

    /// Returns true if work may begin now.
    #[must_use]
    pub fn is_ready(self, now: BootTime) -> bool {
        self.ready_at <= now
    }

    /// Records work that ended at `now` and cost `cost`.
    pub fn spend(&mut self, now: BootTime, cost: Duration) {
        let saved = BootTime(now.0.saturating_sub(BootTime(0).after(REQUESTS_SAVED).0));
        self.ready_at = self.ready_at.max(saved).after(cost.saturating_mul(REQUESTS_SHARE));
    }
}

/// Moving average of a cost; each new value counts an eighth.
#[derive(Clone, Copy, Debug, Default)]
pub struct AverageCost(Option<Duration>);

impl AverageCost {
    pub fn add(&mut self, cost: Duration) {
        self.0 = Some(self.0.map_or(cost, |before| before.saturating_mul(7).saturating_add(cost) / 8));
    }

    /// Returns the average; zero before the first value.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(15);

    #[test]
    fn a_pause_grows_with_the_cost_and_ends_somewhere() {
        let budget = Budget { share: 0.01, longest: Duration::from_secs(60) };
        for (cost_ms, seconds) in [(0, 15), (1, 15), (150, 15), (300, 30), (600, 60), (1_000_000, 60)] {
            let pause = budget.pause(Duration::from_millis(cost_ms), LEAST);
            assert_eq!(pause, Duration::from_secs(seconds), "{cost_ms}");
        }
        let slow = Duration::from_secs(300);
        assert_eq!(budget.pause(Duration::from_secs(9), slow), slow, "what was asked for is the least");
    }

    #[test]
    fn a_share_of_nothing_is_the_longest_pause() {
        let budget = Budget { share: 0.0, longest: Duration::from_secs(60) };
        assert_eq!(budget.pause(Duration::from_millis(1), LEAST), Duration::from_secs(60));
    }

    #[test]
    fn requests_wait_for_nine_times_the_cost_but_not_for_long() {
        let ended = BootTime(1_000);
        let after = |cost| earliest_repeat(ended, cost).since(ended);
        assert_eq!(after(Duration::from_millis(1)), Duration::from_millis(9));
        assert_eq!(after(Duration::from_secs(100)), Duration::from_secs(1));
    }

    #[test]
    fn requests_take_a_thirtieth_of_a_core_in_all() {
        let mut budget = RequestBudget::default();
        let cost = Duration::from_millis(3);
        let (mut now, mut spent) = (BootTime(0).after(Duration::from_secs(100)), Duration::ZERO);
        let end = now.after(Duration::from_secs(60));
        while now < end {
            if budget.is_ready(now) {
                now = now.after(cost);
                spent += cost;
                budget.spend(now, cost);
            } else {
                now = budget.ready_at();
            }
        }
        let share = spent.as_secs_f64() / 60.0;
        let saved = REQUESTS_SAVED.as_secs_f64() / f64::from(REQUESTS_SHARE) / 60.0;
        let wanted = 1.0 / f64::from(REQUESTS_SHARE);
        assert!(share > wanted && share < wanted + saved + 0.001, "{share}");
    }

    #[test]
    fn a_pace_follows_each_cost_and_leaves_nobody_out() {
        let budget = Budget { share: 0.01, longest: Duration::from_secs(60) };
        let ready = |cost_ms, count| {
            let mut pace = RotationPace::default();
            pace.looked(BootTime(0), Duration::from_millis(cost_ms), count, budget);
            pace.ready_at().since(BootTime(0))
        };
        assert_eq!(ready(1, 250), Duration::from_millis(100));
        assert_eq!(ready(10, 250), Duration::from_millis(240), "all of them within a minute");
        assert_eq!(ready(0, 0), Duration::ZERO);
    }

    #[test]
    fn an_average_follows() {
        let mut average = AverageCost::default();
        average.add(Duration::from_millis(80));
        assert_eq!(average.get(), Duration::from_millis(80));
        average.add(Duration::ZERO);
        assert_eq!(average.get(), Duration::from_millis(70));
    }
}
