//! Turns of the watchers of one agent while the API server is away: one watcher retries at a time, and the others follow
//! as soon as one succeeds.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Serialises the retries of all watchers and counts successes.
#[derive(Debug, Default)]
pub struct Turns {
    queue: Mutex<()>,
    got_through: AtomicU64,
}

/// The right to retry. The next watcher gets it when this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    _guard: MutexGuard<'a, ()>,
}

impl Turns {
    /// Returns the number of successes so far. A changed number means that the server answers again.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.got_through.load(Ordering::Relaxed)
    }

    /// Waits for the turn.
    pub async fn take(&self) -> Turn<'_> {
        Turn { turns: self, _guard: self.queue.lock().await }
    }
}

impl Turn<'_> {
    /// Reports that the server answers again, and ends the turn.
    pub fn got_through(self) {
        self.turns.got_through.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_the_next_sees_the_success() {
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
