//! Why the agent did not start, or ended.

use std::io;

use crate::source::kernel::KernelRefusal;

/// Why the agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Exit code 4.
    #[error("{0}")]
    Refused(#[from] KernelRefusal),
    /// Exit code 2.
    #[error("{option} {address}: {reason}{}", in_use(.reason))]
    Address { option: &'static str, address: String, reason: io::Error },
    /// Exit code 4.
    #[error("cannot start {what}: {reason}")]
    Start { what: &'static str, reason: io::Error },
    /// Without what is missing nothing can be observed, or the observation would be wrong. Exit code 4.
    #[error("this node does not allow it: {}. `portolan doctor` says more", .0.join("; "))]
    Blind(Vec<String>),
    /// Exit code 3.
    #[error("the thread that looks at network namespaces has ended; nothing is observed without it")]
    NetnsEnded,
}

impl AgentError {
    /// Returns a function that wraps the error of starting `what`.
    pub fn start(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |reason| Self::Start { what, reason }
    }
}

fn in_use(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => " (by another agent? give this one another address, or `off`)",
        _ => "",
    }
}
