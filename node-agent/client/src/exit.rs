//! Exit codes of all commands. Scripts rely on them.

use std::process::ExitCode;

/// Outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command succeeded, and no finding reaches `--fail-on`.
    Fine,
    /// At least one finding reaches `--fail-on`.
    FailOn,
    /// The command line or the configuration is wrong.
    WrongUse,
    /// The answer is partial or missing; stderr says why.
    Partial,
    /// The node does not permit the command; stderr says what is missing.
    Refused,
}

impl Exit {
    /// Returns the exit code of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::FailOn => 1,
            Self::WrongUse => 2,
            Self::Partial => 3,
            Self::Refused => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
