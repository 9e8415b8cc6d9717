//! How often what costs may be done again: its own cost sets the pause, so that a large node pays no larger share of a core
//! than a small one, and a pod cannot make the agent busy with one netns.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// A share of one core, and what it may lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of one core, above zero.
    pub share: f64,
    /// The pause is not longer than this, whatever it costs.
    pub longest: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { share: 0.003, longest: Duration::from_secs(120) }
    }
}

impl Budget {
    /// Where no kernel program tells of anything, so that looking again is the only way to learn it.
    pub const LOOKS_ALONE: Self = Self { share: 0.03, longest: Duration::from_secs(60) };

    /// The pause after something that costs `cost`: `least` where that is cheap enough.
    #[must_use]
    pub fn pause(&self, cost: Duration, least: Duration) -> Duration {
        let longest = self.longest.max(least);
        let wanted = cost.as_secs_f64() / self.share;
        Duration::try_from_secs_f64(wanted).map_or(longest, |wanted| wanted.clamp(least, longest))
    }
}

/// The pace of a rotation: each look sets the pause before the next one by what it has cost, since many that are due at once
/// would each cost more than those before them told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    ready_at: BootTime,
}

impl Pace {
    /// When the next of the rotation may be looked at.
    #[must_use]
    pub const fn ready_at(self) -> BootTime {
        self.ready_at
    }

    /// One of `count` was looked at, which ended now and cost `cost`. None of them waits for longer than the budget allows.
    pub fn looked(&mut self, now: BootTime, cost: Duration, count: usize, budget: Budget) {
        let longest = budget.longest / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        self.ready_at = now.after(Budget { longest, ..budget }.pause(cost, Duration::ZERO));
    }
}

/// What is asked for by what pods do may take this share of a core per netns: with a pause of nine times its cost.
const ON_REQUEST: u32 = 9;

/// When something that ended at `ended` and cost `cost` may be done again because somebody asks for it.
#[must_use]
pub fn again_on_request(ended: BootTime, cost: Duration) -> BootTime {
    ended.after(cost.saturating_mul(ON_REQUEST).min(Duration::from_secs(1)))
}

/// A cost as it was lately, each new one counting an eighth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Average(Option<Duration>);

impl Average {
    pub fn add(&mut self, cost: Duration) {
        self.0 = Some(self.0.map_or(cost, |before| before.saturating_mul(7).saturating_add(cost) / 8));
    }

    /// Zero before the first.
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
        let after = |cost| again_on_request(ended, cost).since(ended);
        assert_eq!(after(Duration::from_millis(1)), Duration::from_millis(9));
        assert_eq!(after(Duration::from_secs(100)), Duration::from_secs(1));
    }

    #[test]
    fn a_pace_follows_each_cost_and_leaves_nobody_out() {
        let budget = Budget { share: 0.01, longest: Duration::from_secs(60) };
        let ready = |cost_ms, count| {
            let mut pace = Pace::default();
            pace.looked(BootTime(0), Duration::from_millis(cost_ms), count, budget);
            pace.ready_at().since(BootTime(0))
        };
        assert_eq!(ready(1, 250), Duration::from_millis(100));
        assert_eq!(ready(10, 250), Duration::from_millis(240), "all of them within a minute");
        assert_eq!(ready(0, 0), Duration::ZERO);
    }

    #[test]
    fn an_average_follows() {
        let mut average = Average::default();
        average.add(Duration::from_millis(80));
        assert_eq!(average.get(), Duration::from_millis(80));
        average.add(Duration::ZERO);
        assert_eq!(average.get(), Duration::from_millis(70));
    }
}
