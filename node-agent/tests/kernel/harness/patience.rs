//! How long and how often the cases of the tier try.

use std::time::Duration;

use portolan_testing::waiting::Polling;

/// How long a case waits for what must come; far beyond what it takes, so that a busy machine fails no case.
pub const PATIENCE: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(10);

/// Repeats an attempt until it succeeds; panics with the reason of the last attempt after `patience`.
pub fn eventually<T>(patience: Duration, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    Polling { patience, step: STEP }.eventually(what, attempt)
}
