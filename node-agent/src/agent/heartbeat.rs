//! Detects a main loop that hangs, for /livez. The loop counts its turns, and a separate task checks the count, since a loop
//! that hangs cannot report itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sink::http::Health;

/// Interval of checks. The loop turns at least once a second.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// Number of consecutive checks without a turn after which the loop counts as hung.
const MAX_MISSED: u32 = 2;

/// Number of turns of the loop.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Counts one turn.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets `health.live` at every check, for ever.
    pub async fn watch(self, health: Arc<Health>) {
        let mut pulse = Pulse::default();
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let is_live = pulse.is_live(self.0.load(Ordering::Relaxed));
            match (health.live.swap(is_live, Ordering::Relaxed), is_live) {
                (true, false) => tracing::warn!("the engine's loop stands still: /livez fails"),
                (false, true) => tracing::info!("the engine's loop turns again"),
                _ => {}
            }
        }
    }
}

/// Result of the previous checks.
#[derive(Debug, Default)]
struct Pulse {
    beats: u64,
    missed: u32,
}

impl Pulse {
    fn is_live(&mut self, beats: u64) -> bool {
        self.missed = if beats == self.beats { self.missed + 1 } else { 0 };
        self.beats = beats;
        self.missed < MAX_MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_not_live_until_it_turns_again() {
        let heartbeat = Heartbeat::default();
        let mut pulse = Pulse::default();
        let mut look = |beats: usize| {
            (0..beats).for_each(|_| heartbeat.beat());
            pulse.is_live(heartbeat.0.load(Ordering::Relaxed))
        };
        assert_eq!([1, 9, 0, 0, 0, 1, 0].map(&mut look), [true, true, true, false, false, true, true]);
    }
}
