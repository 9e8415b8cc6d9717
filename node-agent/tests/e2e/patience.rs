//! Waiting for a condition, never for a time: the only file of the tier that reads a clock.
#![expect(clippy::disallowed_types, reason = "how long a case waits for a real cluster is real time")]

use std::time::{Duration, Instant};

/// How long a case waits for what must come: images are pulled, nodes are busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Each attempt asks the API server.
const STEP: Duration = Duration::from_secs(1);

/// Try until it answers, or fail with what the last try said.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if started.elapsed() > PATIENCE => {
                panic!("{what}: not within {PATIENCE:?}: {reason}")
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
