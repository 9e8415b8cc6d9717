//! Keeps what a restart must not lose: which findings are open, since when, and how far their callers were away. One small
//! file in a directory of the node; see docs/decisions/0044-findings-survive-a-restart.md.
//!
//! It stands outside `source` and `sink`, since it reads what it wrote itself.

pub mod directory;
pub mod format;
mod keeper;

pub use keeper::{FindingMemory, MemoryCounts};
