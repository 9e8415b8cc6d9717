//! Where pods come from. Each source tells all of its pods at once; the engine joins them.

pub mod api;
pub mod cri;
pub mod file;
pub mod owner;

/// How a source does, for status and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// It has told its pods at least once, and the last attempt was fine.
    pub up: bool,
    /// Why not, in one line.
    pub reason: Option<String>,
}
