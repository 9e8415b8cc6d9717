//! Faults of requests to the API server, and what to do about each. A message is one bounded line, safe for a terminal.

use std::error::Error;
use std::time::Duration;

use crate::retry::reason::one_line;

/// Why a request or a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiFault {
    /// No usable credentials: a file is missing or malformed, or a token cannot be fetched.
    #[error("no credentials for the API server: {reason}")]
    Credentials { reason: String },
    /// No connection, or it broke before the answer began.
    #[error("cannot reach the API server: {reason}")]
    Unreachable { reason: String },
    /// An answer with an error status.
    #[error("the API server answers {code}: {reason}")]
    Refused { code: u16, reason: String, retry_after: Option<Duration> },
    /// A timeout passed without an answer, or without the next part of one.
    #[error("the API server fell silent")]
    Silent,
    /// The connection broke within an answer.
    #[error("the API server's answer was cut short")]
    CutShort,
    /// An answer that cannot be parsed.
    #[error("the API server sent what is no Kubernetes {what}: {reason}")]
    Nonsense { what: &'static str, reason: String },
    /// The resource version of the watch is too old (410).
    #[error("the API server no longer knows where the watch stood")]
    Expired,
    /// The watch ended soon after its start, without an event.
    #[error("the API server ended the watch at once")]
    ShortLived,
    /// The receiver of the inputs was dropped: the agent ends.
    #[error("the engine is gone")]
    EngineGone,
}

/// What a watcher does about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The kind is forbidden or not served: its facts are unknown. Request it again at long intervals.
    AskSeldom,
    /// The kind was served until now and is forbidden: request it once more, soon, before it counts as unknown.
    AskOnce,
    /// The server or the network is in trouble: one watcher at a time retries, with new credentials and back-off.
    TakeTurns,
    /// Only this watch is affected: retry with back-off.
    TryAgain,
}

impl ApiFault {
    /// Classifies the fault. Never returns [`Remedy::AskOnce`], which depends on what was served before.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Refused { code: 403..=405, .. } => Remedy::AskSeldom,
            Self::Refused { code: 401 | 429 | 500.., .. }
            | Self::Credentials { .. }
            | Self::Unreachable { .. }
            | Self::Silent
            | Self::CutShort => Remedy::TakeTurns,
            Self::Refused { .. }
            | Self::Nonsense { .. }
            | Self::Expired
            | Self::ShortLived
            | Self::EngineGone => Remedy::TryAgain,
        }
    }

    /// Returns the server's `Retry-After`, capped.
    pub fn asked_delay(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns true for a fault of normal operation, which is reported only if it repeats.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::Expired | Self::ShortLived)
    }

    /// Returns the fault of an answer that could not be parsed as `what`.
    pub fn nonsense(what: &'static str, reason: &dyn Error) -> Self {
        Self::Nonsense { what, reason: one_line(&reason.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> ApiFault {
        ApiFault::Refused { code, reason: String::new(), retry_after: None }
    }

    #[test]
    fn each_answer_has_its_remedy() {
        for (code, then) in [
            (400, Remedy::TryAgain),
            (401, Remedy::TakeTurns),
            (403, Remedy::AskSeldom),
            (404, Remedy::AskSeldom),
            (410, Remedy::TryAgain),
            (429, Remedy::TakeTurns),
            (500, Remedy::TakeTurns),
            (503, Remedy::TakeTurns),
        ] {
            assert_eq!(refused(code).remedy(), then, "{code}");
        }
    }
}
