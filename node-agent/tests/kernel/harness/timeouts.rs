//! How long and how often the cases of the tier try.

use std::time::Duration;

use portolan_testing::waiting::Polling;

/// How long a case waits for a condition: far longer than needed, so that no case fails because the machine is busy.
pub const TIMEOUT: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it succeeds. Panics with the error of the last attempt after `timeout`.
pub fn eventually<T>(timeout: Duration, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    Polling { patience: timeout, step: STEP }.eventually(what, attempt)
}
