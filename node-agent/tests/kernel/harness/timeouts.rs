//! Waits for conditions, never for a fixed time. Only this file and `stopwatch` read a clock in this tier.
#![expect(clippy::disallowed_types, reason = "how long a case waits for a real process is real time")]

use std::time::{Duration, Instant};

/// How long a case waits for a condition: far longer than needed, so that no case fails because the machine is busy.
pub const TIMEOUT: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it succeeds. Panics with the error of the last attempt after `timeout`.
pub fn eventually<T>(timeout: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if started.elapsed() > timeout => {
                panic!("{what}: not within {timeout:?}: {reason}")
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// A point in time to wait until.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// Returns the remaining time; zero once the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
