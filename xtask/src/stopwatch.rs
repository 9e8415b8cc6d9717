//! The only clock of the commands: monotonic time since a start, for progress lines and deadlines.

use std::time::Duration;

/// Measures the time since its creation.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { start: monotonic() }
    }

    pub fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.start)
    }
}

/// Returns the time since boot, without time asleep.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
