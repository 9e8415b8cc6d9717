//! Exponential back-off with jitter, so that thousands of agents neither overload a server that is down nor return to it
//! at the same moment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// Which part of a wait is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The whole wait. Spreads agents best, but two attempts can follow each other at once.
    Full,
    /// The second half of the wait. Two attempts are never adjacent.
    Half,
}

/// The upper bound of the next wait. The bound doubles with each fault.
#[derive(Debug)]
pub struct Backoff {
    jitter: Jitter,
    first: Duration,
    max: Duration,
    ceiling: Duration,
    reset_at: Option<BootTime>,
}

impl Backoff {
    /// Waits at most `first` after the first fault, and never longer than `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration, jitter: Jitter) -> Self {
        Self { jitter, first, max, ceiling: first, reset_at: None }
    }

    /// Returns the wait after one more fault. `random` is uniform over all of u64.
    pub fn next(&mut self, random: u64) -> Duration {
        let certain = match self.jitter {
            Jitter::Full => Duration::ZERO,
            Jitter::Half => self.ceiling / 2,
        };
        let wait = certain + random_part(self.ceiling - certain, random);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        wait
    }

    /// Starts again from the first wait.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }

    /// Resets after progress, at most once per longest wait. A server that alternates between answers and faults is still
    /// in trouble.
    pub fn progress(&mut self, now: BootTime) {
        if self.reset_at.is_none_or(|at| now.since(at) >= self.max) {
            self.reset_at = Some(now);
            self.reset();
        }
    }
}

/// Returns `whole` scaled by `random` / 2^64.
#[must_use]
pub fn random_part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// Returns a random number that is good enough to spread agents: the standard library's hasher has a random key.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> BootTime {
        BootTime(secs * 1_000_000_000)
    }

    fn full() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(60), Jitter::Full)
    }

    fn ceilings(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.next(u64::MAX).as_secs_f64().round() as u64).collect()
    }

    #[test]
    fn it_really_grows_to_a_minute_and_stays_there() {
        assert_eq!(ceilings(&mut full(), 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn progress_resets_it_but_not_in_a_tight_circle() {
        let mut backoff = full();
        ceilings(&mut backoff, 9);
        backoff.progress(at(1000));
        assert_eq!(ceilings(&mut backoff, 2), [1, 2]);
        backoff.progress(at(1005));
        assert_eq!(ceilings(&mut backoff, 2), [4, 8]);
        backoff.progress(at(1061));
        assert_eq!(ceilings(&mut backoff, 1), [1]);
    }

    #[test]
    fn half_jitter_waits_at_least_half_and_a_success_resets_it() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5), Jitter::Half);
        let waits: Vec<u64> = (0..5).map(|_| backoff.next(u64::MAX).as_millis() as u64).collect();
        assert_eq!(waits, [999, 1999, 3999, 4999, 4999]);
        assert_eq!(backoff.next(0), Duration::from_millis(2500));
        backoff.reset();
        assert_eq!(backoff.next(0), Duration::from_millis(500));
    }

    #[test]
    fn jitter_is_full() {
        let whole = Duration::from_secs(60);
        assert_eq!(random_part(whole, 0), Duration::ZERO);
        assert_eq!(random_part(whole, u64::MAX / 2).as_secs_f64().round() as u64, 30);
        assert!(random_part(whole, u64::MAX) <= whole);
        let parts: Vec<_> = (0..1000).map(|_| random_part(whole, random())).collect();
        let mean = parts.iter().sum::<Duration>() / 1000;
        assert!((25..35).contains(&mean.as_secs()), "{mean:?}");
    }
}
