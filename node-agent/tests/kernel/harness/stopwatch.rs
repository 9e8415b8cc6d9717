//! How long something took, for people to read: no case depends on it.
#![expect(clippy::disallowed_types, reason = "what a real process takes is real time")]

use std::time::{Duration, Instant};

/// How long `act` took.
pub fn duration_of(act: impl FnOnce()) -> Duration {
    let started = Instant::now();
    act();
    started.elapsed()
}
