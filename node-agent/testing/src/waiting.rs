//! Waits for a condition of a real process by polling; reads the clock for the test tiers.
#![expect(clippy::disallowed_types, reason = "how long a test waits for a real process is real time")]

use std::time::{Duration, Instant};

/// How often a test tries, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Time after which an unmet condition fails the test.
    pub patience: Duration,
    /// Pause between two attempts.
    pub step: Duration,
}

impl Polling {
    /// Repeats an attempt until it succeeds, and returns its value.
    ///
    /// # Panics
    /// If no attempt succeeds within the patience, with the reason of the last one.
    pub fn eventually<T>(self, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Deadline::after(self.patience);
        loop {
            match attempt() {
                Ok(value) => return value,
                Err(reason) if deadline.remaining().is_zero() => {
                    panic!("{what}: not within {:?}: {reason}", self.patience)
                }
                Err(_) => std::thread::sleep(self.step),
            }
        }
    }
}

/// A point in time to wait until.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Returns the time that is left; zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
