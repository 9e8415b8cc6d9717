//! Why the kernel side cannot run here: everything that is missing, said at once.

use std::fmt;
use std::io;

use portolan_report::error_text::causes;

use crate::source::confinement::Confinement;

/// This node does not let the programs run. Exit code 4.
#[derive(Debug, thiserror::Error)]
pub struct KernelRefusal {
    /// What is missing, most basic first; never empty.
    pub missing: Vec<String>,
}

impl KernelRefusal {
    /// One thing is missing.
    #[must_use]
    pub fn of(missing: impl Into<String>) -> Self {
        Self { missing: vec![missing.into()] }
    }

    /// A step was refused: what it was, and why, in the words of the kernel and of this node.
    #[must_use]
    pub fn step(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let reason = chain(error);
        if let Some((_, function)) = reason.split_once("unknown func ") {
            let function: String = function.chars().take_while(|c| !c.is_whitespace()).collect();
            return Self::of(format!(
                "the kernel is too old for {what}, it has no {function}: full function needs Linux 5.15 or newer"
            ));
        }
        let mut text = format!("{what} was refused: {reason}");
        if is_permission(error) {
            text.push_str(&format!("; {}", permission_hint()));
        }
        Self::of(text)
    }
}

impl fmt::Display for KernelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this node does not allow it: {}. `portolan doctor` says more; `portolan scan` and \
             `portolan agent --scan-only` work without programs",
            self.missing.join("; ")
        )
    }
}

pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let text = causes(error);
    // The verifier's log has thousands of lines; its end has the reason.
    let tail: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect();
    let first = text.lines().next().unwrap_or_default().to_owned();
    if tail.len() < 4 {
        text.replace('\n', " ")
    } else {
        format!("{first} … {}", tail.into_iter().rev().collect::<Vec<_>>().join(" "))
    }
}

fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        }
        next = cause.source();
    }
    false
}

/// What the agent needs, by effective capability: name, bit, what for. CAP_SYS_ADMIN covers CAP_BPF and CAP_PERFMON.
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
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);

    /// Of this process; all of them where that cannot be read, so that the kernel decides.
    #[must_use]
    pub fn own() -> Self {
        let status = procfs::process::Process::myself().and_then(|process| process.status());
        status.map_or(Self::ALL, |status| Self(status.capeff))
    }

    fn has(self, bit: u32) -> bool {
        self.0 & 1 << bit != 0
    }

    /// Other users' processes can be read.
    #[must_use]
    pub fn reads_processes(self) -> bool {
        self.has(CAP_SYS_PTRACE)
    }

    /// What the agent needs: name, whether it is there, what for.
    pub fn needed(self) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
        NEEDED.iter().map(move |(name, bit, what)| (*name, self.has(*bit), *what))
    }

    /// What of that is missing.
    #[must_use]
    pub fn missing(self) -> Vec<String> {
        let lacking = self.needed().filter(|(_, has, _)| !has);
        lacking.map(|(name, _, what)| format!("{name} is missing ({what})")).collect()
    }

    /// What entering network namespaces needs and is missing.
    #[must_use]
    pub fn missing_to_enter(self) -> Vec<String> {
        let lacking = NEEDED.iter().filter(|(_, bit, _)| *bit == CAP_SYS_ADMIN && !self.has(*bit));
        lacking.map(|(name, _, what)| format!("{name} is missing ({what})")).collect()
    }
}

fn permission_hint() -> String {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") || lockdown.contains("[integrity]") {
        return format!("kernel lockdown is on: {}", lockdown.trim());
    }
    Confinement::own().advice()
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
