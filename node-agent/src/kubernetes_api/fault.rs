//! What can go wrong between us and the API server: one line each, bounded, fit for a terminal.

use std::error::Error;
use std::time::Duration;

use portolan_report::error_text;

/// Characters of a reason that are kept.
const MAX_REASON: usize = 240;

/// Why a request or a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiFault {
    #[error("no credentials for the API server: {reason}")]
    Credentials { reason: String },
    #[error("cannot reach the API server: {reason}")]
    Unreachable { reason: String },
    #[error("the API server answers {code}: {reason}")]
    Refused { code: u16, reason: String, retry_after: Option<Duration> },
    #[error("the API server fell silent")]
    Silent,
    #[error("the API server's answer was cut short")]
    CutShort,
    #[error("the API server sent what is no Kubernetes {what}: {reason}")]
    Nonsense { what: &'static str, reason: String },
    #[error("the API server no longer knows where the watch stood")]
    Expired,
    #[error("the API server ended the watch at once")]
    ShortLived,
    #[error("the engine is gone")]
    EngineGone,
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Not allowed, or not served here: the facts are unknown; ask again now and then.
    AskSeldom,
    /// The same, of what was served until now: ask once more, soon.
    AskOnce,
    /// The server or the way to it is in trouble: one watcher at a time, with new credentials, after a growing time.
    TakeTurns,
    /// Only this watch: again after a growing time.
    TryAgain,
}

impl ApiFault {
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

    /// How long the server wants us to wait.
    pub fn asked_delay(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// True where it happens in the ordinary course of things, and nobody needs to hear of it.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::Expired | Self::ShortLived)
    }

    pub fn nonsense(what: &'static str, reason: &dyn Error) -> Self {
        Self::Nonsense { what, reason: bounded(&reason.to_string()) }
    }
}

/// Returns an error and all its causes on one line.
pub fn causes(error: &dyn Error) -> String {
    bounded(&error_text::causes(error))
}

/// Without control characters and not longer than a line.
pub fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
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

    #[test]
    fn a_reason_is_one_bounded_line() {
        let long = "x\n\u{1b}[31m".repeat(1000);
        let reason = bounded(&long);
        assert!(reason.chars().count() == MAX_REASON && !reason.contains(['\n', '\u{1b}']));
    }
}
