//! The effective capabilities of a process, and which of those that the agent needs are missing.

/// Capabilities that the agent needs: name, bit and purpose. CAP_SYS_ADMIN covers CAP_BPF and CAP_PERFMON.
const NEEDED: [(&str, u32, &str); 4] = [
    ("CAP_SYS_ADMIN", CAP_SYS_ADMIN, "to enter network namespaces, and to load programs and maps"),
    ("CAP_NET_ADMIN", 12, "to attach programs to cgroups and interfaces"),
    ("CAP_SYS_PTRACE", CAP_SYS_PTRACE, "to see the network namespaces and executables of processes"),
    ("CAP_DAC_READ_SEARCH", 2, "to see which process of another user holds a socket"),
];

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;

/// The effective capabilities of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// All capabilities.
    pub const ALL: Self = Self(u64::MAX);
    /// No capabilities.
    #[cfg(test)]
    pub const NONE: Self = Self(0);

    /// Reads the capabilities of this process. Returns all of them if they cannot be read, so that the kernel decides.
    #[must_use]
    pub fn own() -> Self {
        let status = procfs::process::Process::myself().and_then(|process| process.status());
        status.map_or(Self::ALL, |status| Self(status.capeff))
    }

    fn has(self, bit: u32) -> bool {
        self.0 & 1 << bit != 0
    }

    /// Returns true if the processes of other users can be read.
    #[must_use]
    pub fn reads_processes(self) -> bool {
        self.has(CAP_SYS_PTRACE)
    }

    /// Returns the capabilities that the agent needs: name, whether it is present, and purpose.
    pub fn needed(self) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
        NEEDED.iter().map(move |(name, bit, what)| (*name, self.has(*bit), *what))
    }

    /// Returns the needed capabilities that are missing, as text.
    #[must_use]
    pub fn missing(self) -> Vec<String> {
        let lacking = self.needed().filter(|(_, has, _)| !has);
        lacking.map(|(name, _, what)| format!("{name} is missing ({what})")).collect()
    }

    /// Returns the capabilities that are missing for entering network namespaces, as text.
    #[must_use]
    pub fn missing_to_enter(self) -> Vec<String> {
        let lacking = NEEDED.iter().filter(|(_, bit, _)| *bit == CAP_SYS_ADMIN && !self.has(*bit));
        lacking.map(|(name, _, what)| format!("{name} is missing ({what})")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Capabilities::NONE.missing().len(), NEEDED.len());
        let admin = Capabilities(1 << CAP_SYS_ADMIN);
        assert_eq!(
            admin.missing()[0],
            "CAP_NET_ADMIN is missing (to attach programs to cgroups and interfaces)"
        );
        assert!(admin.missing_to_enter().is_empty() && !admin.reads_processes());
        let enter = Capabilities(1 << 38 | 1 << 39).missing_to_enter();
        assert!(enter.len() == 1 && enter[0].starts_with("CAP_SYS_ADMIN is missing"), "{enter:?}");
        assert!(Capabilities::ALL.missing().is_empty());
    }
}
