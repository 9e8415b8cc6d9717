//! When to try again: a time that really grows, with full jitter, and one watcher at a time while the server is away, so
//! that thousands of agents neither hammer a server that is down nor fall upon one that comes back.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use tokio::sync::{Mutex, MutexGuard};

/// Every time that the watchers keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first request comes at a random moment within this.
    pub start_within: Duration,
    /// The first wait after a fault is at most this,
    pub first: Duration,
    /// and no wait is longer than this.
    pub most: Duration,
    /// How often something forbidden is asked for again.
    pub seldom: Duration,
    /// An answer, or a part of one, that takes longer will not come.
    pub answer_within: Duration,
    /// A watch that says nothing for so long, not even a bookmark, of which one comes a minute, is taken for dead.
    pub quiet: Duration,
    /// The server is asked to end a watch after once to twice this.
    pub watch_for: Duration,
    /// A watch that ends sooner without an event has failed.
    pub short: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start_within: Duration::from_millis(500),
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
            seldom: Duration::from_secs(600),
            answer_within: Duration::from_secs(30),
            quiet: Duration::from_secs(240),
            watch_for: Duration::from_secs(300),
            short: Duration::from_secs(30),
        }
    }
}

/// Doubles with each fault. A success sets it back, though not twice within its longest time: a server that answers and
/// fails by turns is a server in trouble.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    ceiling: Duration,
    set_back_at: Option<BootTime>,
}

impl Backoff {
    #[must_use]
    pub fn new(pace: &Pace) -> Self {
        Self { first: pace.first, most: pace.most, ceiling: pace.first, set_back_at: None }
    }

    /// How long to wait now, after one more fault.
    pub fn next(&mut self, random: u64) -> Duration {
        let wait = part_of(self.ceiling, random);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.most);
        wait
    }

    /// A list was finished, or an object came or went.
    pub fn progress(&mut self, now: BootTime) {
        if self.set_back_at.is_none_or(|at| now.since(at) >= self.most) {
            self.set_back_at = Some(now);
            self.ceiling = self.first;
        }
    }
}

/// Lets the watchers of one agent try one after the other, and tells them when one has got through.
#[derive(Debug, Default)]
pub struct Turns {
    queue: Mutex<()>,
    got_through: AtomicU64,
}

/// The right to try; the next in line follows when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    _guard: MutexGuard<'a, ()>,
}

impl Turns {
    /// How often somebody has got through so far.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.got_through.load(Ordering::Relaxed)
    }

    pub async fn take(&self) -> Turn<'_> {
        Turn { turns: self, _guard: self.queue.lock().await }
    }
}

impl Turn<'_> {
    /// The server answers again.
    pub fn got_through(self) {
        self.turns.got_through.fetch_add(1, Ordering::Relaxed);
    }
}

/// A random part of `whole`.
#[must_use]
pub fn part_of(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// Good enough to spread agents: the standard library's hasher has a random key.
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

    fn ceilings(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.next(u64::MAX).as_secs_f64().round() as u64).collect()
    }

    #[test]
    fn it_really_grows_to_a_minute_and_stays_there() {
        let mut backoff = Backoff::new(&Pace::default());
        assert_eq!(ceilings(&mut backoff, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn progress_sets_it_back_but_not_in_a_tight_circle() {
        let mut backoff = Backoff::new(&Pace::default());
        ceilings(&mut backoff, 9);
        backoff.progress(at(1000));
        assert_eq!(ceilings(&mut backoff, 2), [1, 2]);
        backoff.progress(at(1005));
        assert_eq!(ceilings(&mut backoff, 2), [4, 8]);
        backoff.progress(at(1061));
        assert_eq!(ceilings(&mut backoff, 1), [1]);
    }

    #[test]
    fn jitter_is_full() {
        let whole = Duration::from_secs(60);
        assert_eq!(part_of(whole, 0), Duration::ZERO);
        assert_eq!(part_of(whole, u64::MAX / 2).as_secs_f64().round() as u64, 30);
        assert!(part_of(whole, u64::MAX) <= whole);
        let parts: Vec<_> = (0..1000).map(|_| part_of(whole, random())).collect();
        let mean = parts.iter().sum::<Duration>() / 1000;
        assert!((25..35).contains(&mean.as_secs()), "{mean:?}");
    }

    #[tokio::test]
    async fn one_at_a_time_and_the_next_learns_of_success() {
        let turns = Turns::default();
        let mark = turns.mark();
        let turn = turns.take().await;
        assert!(turns.queue.try_lock().is_err());
        turn.got_through();
        let next = turns.take().await;
        assert_ne!(turns.mark(), mark);
        drop(next);
        assert_eq!(turns.mark(), mark + 1);
    }
}
