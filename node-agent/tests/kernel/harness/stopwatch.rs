//! Measures durations for people to read; no case depends on them.
#![expect(clippy::disallowed_types, reason = "what a real process takes is real time")]

use std::time::{Duration, Instant};

/// Returns how long `act` took.
pub fn duration_of(act: impl FnOnce()) -> Duration {
    let started = Instant::now();
    act();
    started.elapsed()
}
