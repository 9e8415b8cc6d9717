//! Network namespaces of the benches and the soak: created by `ip`, removed when the guard is dropped.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step;

/// Prefix of the benches' namespaces, and of no others.
pub const PREFIX: &str = "ptl-bench-";

/// One network namespace with its loopback up.
pub struct Netns {
    name: String,
}

impl Netns {
    /// # Errors
    /// If `ip` fails.
    pub fn make(name: &str) -> Result<Self> {
        Self::make_named(format!("{PREFIX}{name}"))
    }

    /// Creates a namespace with exactly this name.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_named(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        let netns = Self { name };
        ip(&["-n", &netns.name, "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Creates `count` numbered namespaces.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn make_many(name: &str, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|n| Self::make(&format!("{name}{n}"))).collect()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a command that runs `program` in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Connects two namespaces by a veth pair, `eth0` in both. The first has 10.99.0.1, the second 10.99.0.2.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn join(&self, other: &Self) -> Result<()> {
        ip(&[
            "-n",
            &self.name,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &other.name,
        ])?;
        for (netns, address) in [(self, "10.99.0.1/24"), (other, "10.99.0.2/24")] {
            ip(&["-n", &netns.name, "address", "add", address, "dev", "eth0"])?;
            ip(&["-n", &netns.name, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Creates a veth pair with both ends in the namespace: more interfaces to attach to.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn add_interface(&self) -> Result<()> {
        ip(&["-n", &self.name, "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"])
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("cannot remove {}: {error:#}", self.name);
        }
    }
}

/// Removes what a killed command left: the namespaces whose names begin with `prefix`, and the processes in them.
pub fn remove_leftovers(prefix: &str) {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            let inside = step::output(Command::new("ip").args(["netns", "pids", &name])).unwrap_or_default();
            for pid in inside.lines().filter_map(|pid| pid.trim().parse().ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // Fails only if the process has already ended.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            drop(Netns { name });
        }
    }
}

/// Runs `ip`.
///
/// # Errors
/// If `ip` fails; the message contains its stderr.
pub fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())
}

/// Runs `ip` once for many commands, one a line.
///
/// # Errors
/// If one of them fails; the message contains the stderr of `ip`.
pub fn ip_batch(words: &[&str], lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start ip")?;
    child.stdin.take().context("ip has no stdin")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("`ip {}` of\n{lines}{}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())
}
