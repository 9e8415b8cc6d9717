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

/// Who holds a socket, as a scan finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Not looked for, or not found yet.
    #[default]
    Unknown,
    /// No process: the socket is in flight between two processes.
    Nobody,
    /// The kernel itself, as for vxlan, WireGuard and NFS.
    Kernel,
    /// This process.
    Process(Process),
}

impl Holder {
    /// Returns the process, if a process is known to hold the socket.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Process(process) => Some(process),
            Self::Unknown | Self::Nobody | Self::Kernel => None,
        }
    }
}
