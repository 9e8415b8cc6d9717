//! Why the kernel programs cannot run on this node: everything that is missing, reported at once.

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
    /// Creates a refusal because of one thing that is missing.
    #[must_use]
    pub fn of(missing: impl Into<String>) -> Self {
        Self { missing: vec![missing.into()] }
    }

    /// Creates a refusal of one step: the step, the kernel's reason, and what on this node may cause it.
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

fn permission_hint() -> String {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") || lockdown.contains("[integrity]") {
        return format!("kernel lockdown is on: {}", lockdown.trim());
    }
    Confinement::own().advice()
}
