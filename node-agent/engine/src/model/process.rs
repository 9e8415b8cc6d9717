//! A process that serves a port.

/// A process, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// `comm`: chosen by the workload.
    pub name: String,
    /// Path of the executable as the kernel tells it; `None` where it cannot be read.
    pub executable: Option<String>,
    /// The process's cgroup path, for attribution; `None` where unknown.
    pub cgroup: Option<String>,
}
