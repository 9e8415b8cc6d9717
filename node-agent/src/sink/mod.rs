//! Where reports go: stdout, HTTP, metrics. IO out, no decisions.

pub mod convert;
pub mod escape;
pub mod line;
pub mod report;
pub mod stdout;
pub mod text;
