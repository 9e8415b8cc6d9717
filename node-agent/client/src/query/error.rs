//! Errors of a request to an agent. Each is one line that says what to do, and has an exit code.

use portolan_report::escape::terminal;

use crate::exit::Exit;

/// Error of a request to an agent, or of its answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// `--server` is not an address.
    #[error("--server: {given:?} is not valid: expected http://HOST:PORT or unix:PATH")]
    BadServer {
        /// Value of the option.
        given: String,
    },
    /// A file that a command was given cannot be used.
    #[error("{}: {}", terminal(.path), terminal(.reason))]
    BadFile {
        /// Path of the file.
        path: String,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// A JUnit report was asked of a stream.
    #[error("-o junit is a report of one time: leave out --watch, or choose another format")]
    NoStream,
    /// Idle ports were asked of a stream.
    #[error("--idle is about the time before now: leave out --watch, or --idle")]
    NoIdleStream,
    /// No connection to the agent.
    #[error(
        "cannot reach the agent at {server}: {reason}; is `portolan agent` running? \
         (--server or PORTOLAN_SERVER says where)"
    )]
    Unreachable {
        /// Address of the agent.
        server: String,
        /// Error of the operating system.
        reason: String,
    },
    /// The agent answered with a status other than 200.
    #[error("the agent at {server} refused {path}: {}", terminal(.detail))]
    Refused {
        /// Address of the agent.
        server: String,
        /// Path of the request, with its query.
        path: String,
        /// HTTP status.
        status: u16,
        /// Pointer and detail of the problem object, or the status line.
        detail: String,
    },
    /// The answer ended early, was too long, or did not come in time.
    #[error("the answer of {server} to {path} broke off: {}", terminal(.reason))]
    BrokenOff {
        /// Address of the agent.
        server: String,
        /// Path of the request, with its query.
        path: String,
        /// What happened.
        reason: String,
    },
    /// The answer is not an object of the API.
    #[error("the answer of {server} to {path} is not portolan's: {}", terminal(.reason))]
    NotUnderstood {
        /// Address of the agent.
        server: String,
        /// Path of the request, with its query.
        path: String,
        /// What was expected.
        reason: String,
    },
    /// The target of `explain` cannot be parsed.
    #[error("{0}")]
    BadTarget(portolan_engine::read::explain::target::BadTarget),
    /// No agent knows the target of `explain`.
    #[error("{}", terminal(.detail))]
    NoTarget {
        /// The agent's message.
        detail: String,
    },
    /// The target of `explain` is ambiguous.
    #[error("{}", terminal(.detail))]
    SeveralTargets {
        /// The agent's message.
        detail: String,
    },
    /// No NetworkPolicy can be drafted.
    #[error(transparent)]
    NoPolicy(#[from] super::policy::error::PolicyError),
    /// No declarations can be drafted.
    #[error(transparent)]
    NoDeclaration(#[from] super::declare::error::DeclareError),
    /// The answer cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl QueryError {
    /// Returns the exit code of a command that ends with this error.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::BadServer { .. }
            | Self::BadFile { .. }
            | Self::NoStream
            | Self::NoIdleStream
            | Self::BadTarget(_)
            | Self::NoTarget { .. }
            | Self::SeveralTargets { .. } => Exit::WrongUse,
            Self::NoPolicy(error) => error.exit(),
            Self::NoDeclaration(error) => error.exit(),
            Self::Refused { status, .. } if (400..500).contains(status) => Exit::WrongUse,
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::BrokenOff { .. }
            | Self::NotUnderstood { .. }
            | Self::Output(_) => Exit::Partial,
        }
    }

    /// Returns what went wrong, without the server and the path.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unreachable { reason, .. }
            | Self::BrokenOff { reason, .. }
            | Self::NotUnderstood { reason, .. } => reason.clone(),
            Self::Refused { detail, .. } => detail.clone(),
            Self::BadFile { reason, .. } => reason.clone(),
            Self::BadServer { .. }
            | Self::NoStream
            | Self::NoIdleStream
            | Self::BadTarget(_)
            | Self::NoTarget { .. }
            | Self::SeveralTargets { .. }
            | Self::NoPolicy(_)
            | Self::NoDeclaration(_)
            | Self::Output(_) => self.to_string(),
        }
    }

    /// Returns true if the agent refused the request as wrong, so that asking again is of no use.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status: 400..500, .. })
    }

    /// Returns true if the reader of the output closed the pipe, which is not a failure (`portolan findings | head`).
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
