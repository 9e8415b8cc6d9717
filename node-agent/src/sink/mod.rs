//! Where reports go: stdout, HTTP, metrics. IO out, no decisions.

pub mod report;
