//! Why a question could not be asked or answered, each in one line that says what to do, and the exit code that follows.

use portolan_report::escape::terminal;

use crate::exit::Exit;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("--server: {given:?} is not valid: expected http://HOST:PORT or unix:PATH")]
    BadServer { given: String },
    #[error(
        "cannot reach the agent at {server}: {reason}; is `portolan agent` running? \
         (--server or PORTOLAN_SERVER says where)"
    )]
    Unreachable { server: String, reason: String },
    #[error("the agent at {server} refused {path}: {}", terminal(.detail))]
    Refused { server: String, path: String, status: u16, detail: String },
    #[error("the answer of {server} to {path} broke off: {}", terminal(.reason))]
    BrokenOff { server: String, path: String, reason: String },
    #[error("the answer of {server} to {path} is not portolan's: {}", terminal(.reason))]
    NotUnderstood { server: String, path: String, reason: String },
    #[error("{0}")]
    BadTarget(portolan_engine::read::explain::target::BadTarget),
    #[error("{}", terminal(.detail))]
    NoTarget { detail: String },
    #[error("{}", terminal(.detail))]
    SeveralTargets { detail: String },
    #[error(transparent)]
    NoPolicy(#[from] super::policy::refusal::Refusal),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl QueryError {
    /// The exit code when this ends the command.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::BadServer { .. }
            | Self::BadTarget(_)
            | Self::NoTarget { .. }
            | Self::SeveralTargets { .. } => Exit::WrongUse,
            Self::NoPolicy(refusal) => refusal.exit(),
            Self::Refused { status, .. } if (400..500).contains(status) => Exit::WrongUse,
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::BrokenOff { .. }
            | Self::NotUnderstood { .. }
            | Self::Output(_) => Exit::Partial,
        }
    }

    /// What went wrong, without where.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unreachable { reason, .. }
            | Self::BrokenOff { reason, .. }
            | Self::NotUnderstood { reason, .. } => reason.clone(),
            Self::Refused { detail, .. } => detail.clone(),
            Self::BadServer { .. }
            | Self::BadTarget(_)
            | Self::NoTarget { .. }
            | Self::SeveralTargets { .. }
            | Self::NoPolicy(_)
            | Self::Output(_) => self.to_string(),
        }
    }

    /// Whether the reader of our output went away, which is no fault (`portolan findings | head`).
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
