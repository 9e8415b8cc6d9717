//! How long the cases wait for a condition: far longer than needed, so that no case fails because the machine is busy.

use std::time::Duration;

use portolan_testing::waiting::Deadline;

/// Time after which an unmet condition fails the case.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const STEP: Duration = Duration::from_millis(25);

/// Repeats an attempt until it succeeds. Panics with the reason of the last attempt after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Deadline::after(PATIENCE);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(reason) if deadline.remaining().is_zero() => panic!("never: {what}: {reason}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}
