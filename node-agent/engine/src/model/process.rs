//! A process that serves a port.

/// A process, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id, as the node sees it.
    pub pid: u32,
    /// `comm`, at most 15 bytes. Chosen by the workload.
    pub name: String,
    /// Path of the executable as the kernel reports it; `None` where it cannot be read.
    pub executable: Option<String>,
    /// Path of the process's cgroup, for attribution; `None` where unknown.
    pub cgroup: Option<String>,
}
