//! When to try again: a time that doubles with each fault, with jitter, so that the agents of a cluster do not come
//! back to a receiver all at once.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Doubles with each fault; a success sets it back.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    ceiling: Duration,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, ceiling: first }
    }

    /// How long to wait now, after one more fault: a half of it at least, so that no two tries are next to each other.
    pub fn next(&mut self, random: u64) -> Duration {
        let half = self.ceiling / 2;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.most);
        half + part_of(half, random)
    }

    pub fn succeeded(&mut self) {
        self.ceiling = self.first;
    }
}

/// A random part of `whole`.
#[must_use]
pub fn part_of(whole: Duration, random: u64) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Good enough to spread agents: the standard library's hasher has a random key.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_longest_and_a_success_sets_it_back() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..5).map(|_| backoff.next(u64::MAX).as_millis() as u64).collect();
        assert_eq!(waits, [999, 1999, 3999, 4999, 4999]);
        backoff.succeeded();
        assert_eq!(backoff.next(0), Duration::from_millis(500));
    }
}
