//! What is wrong with a manifest, and on which line.

/// The first fault of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Line within the text, from 1.
    pub line: u64,
    pub problem: String,
}

/// Returns the fault as an error.
pub fn invalid<T>(line: u64, problem: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { line, problem: problem.into() })
}
