//! How a command ends: the exit codes that scripts rely on, in one place.

use std::process::ExitCode;

/// One per exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done, and nothing was found that should fail.
    Fine,
    /// There is a finding at or above `--fail-on`.
    FailOn,
    /// Wrong use or configuration.
    WrongUse,
    /// The answer is partial or could not be had; stderr says why.
    Partial,
    /// This node does not allow it; stderr says what is missing.
    Refused,
}

impl Exit {
    /// The number that the shell sees.
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
