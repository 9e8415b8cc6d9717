//! Timeouts and intervals of requests to the API server.

use std::time::Duration;

use crate::retry::backoff::{Backoff, Jitter};

/// Timeouts and intervals of all watchers and writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTimings {
    /// The first request is sent at a random moment within this time.
    pub start_within: Duration,
    /// Upper bound of the first wait after a fault.
    pub first: Duration,
    /// Upper bound of every wait after a fault.
    pub most: Duration,
    /// Interval at which a forbidden or unserved kind is requested again.
    pub seldom: Duration,
    /// Timeout of an answer, and of each part of one.
    pub answer_within: Duration,
    /// A watch without any event for this time counts as dead. The server sends a bookmark about once a minute.
    pub quiet: Duration,
    /// The server is asked to end a watch after one to two times this.
    pub watch_for: Duration,
    /// A watch that ends sooner than this counts as failed. One that has lasted as long works, even if it was silent.
    pub short: Duration,
}

impl Default for ApiTimings {
    fn default() -> Self {
        Self {
            start_within: Duration::from_millis(500),
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
            seldom: Duration::from_secs(600),
            answer_within: Duration::from_secs(30),
            quiet: Duration::from_secs(240),
            watch_for: Duration::from_secs(300),
            short: Duration::from_secs(30),
        }
    }
}

impl ApiTimings {
    /// Returns a back-off with full jitter: thousands of agents must not return at the same moment.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.first, self.most, Jitter::Full)
    }
}
