//! Waiting for a condition, never for a time: beside `stopwatch` the only file of the tier that reads a clock.
#![expect(clippy::disallowed_types, reason = "how long a case waits for a real process is real time")]

use std::time::{Duration, Instant};

/// How long a case waits for what must come; far beyond what it takes, so that a busy machine fails no case.
pub const PATIENCE: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(10);

/// Try until it answers, or fail with what the last try said.
pub fn eventually<T>(patience: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if started.elapsed() > patience => {
                panic!("{what}: not within {patience:?}: {reason}")
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// A point in time to wait until.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
