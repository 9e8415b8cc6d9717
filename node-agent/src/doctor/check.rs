//! One check of the diagnosis and its result.

use serde::Serialize;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    Ok,
    Warn,
    Fail,
}

/// What a failed check makes impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededBy {
    /// Agent and scan need it.
    Scan,
    /// The agent needs it; a scan works without.
    Agent,
    /// Optional: a failure is only a warning.
    Nothing,
}

/// One row of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub state: CheckState,
    pub found: String,
    /// How to correct the problem; empty if there is none.
    pub fix: String,
    #[serde(skip)]
    pub needed: NeededBy,
}

/// What a check found: a description, or a problem.
pub type CheckResult = Result<String, Problem>;

/// A failed check: what was found, and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub found: String,
    pub fix: String,
}

/// Returns the problem of these texts.
#[must_use]
pub fn problem(found: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem { found: found.into(), fix: fix.into() }
}

/// Returns a row: ok if the result is, else failed, or a warning if nothing needs it.
#[must_use]
pub fn check(name: &str, needed: NeededBy, result: CheckResult) -> Check {
    let bad = if needed == NeededBy::Nothing { CheckState::Warn } else { CheckState::Fail };
    let (state, found, fix) = match result {
        Ok(found) => (CheckState::Ok, found, String::new()),
        Err(Problem { found, fix }) => (bad, found, fix),
    };
    Check { name: name.to_owned(), state, found, fix, needed }
}
