//! When the agent publishes its status: whenever a hook or a source changes its state, and once a minute.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

use crate::state::Settled;

/// Longest time between two statuses.
const EVERY: Duration = Duration::from_secs(60);

/// The last status that was published.
#[derive(Debug, Default)]
pub struct StatusSchedule {
    /// `None`: none was.
    at: Option<BootTime>,
    /// States without their reasons, since reasons hold numbers that change at every scan.
    settled: Settled,
}

impl StatusSchedule {
    /// True if a status with these states is due now; it then counts as published.
    pub fn is_due(&mut self, settled: Settled, now: BootTime) -> bool {
        let is_late = self.at.is_none_or(|at| now >= at.after(EVERY));
        let is_due = is_late || settled != self.settled;
        if is_due {
            *self = Self { at: Some(now), settled };
        }
        is_due
    }
}
