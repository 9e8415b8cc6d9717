//! Checks the dependencies with cargo-deny, by the rules in deny.toml.

use std::process::Command;

use anyhow::{Result, bail};

use crate::check::{Outcome, show};
use crate::{step, workspace};

/// The program; cargo finds it as `cargo deny`.
pub const PROGRAM: &str = "cargo-deny";

/// Returns true if the program is in PATH.
pub fn is_installed() -> bool {
    step::in_path(PROGRAM)
}

/// Checks what needs no network: duplicates, licences and sources.
///
/// # Errors
/// If a rule is broken, or cargo-deny is missing.
pub fn rules() -> Result<Outcome> {
    show(deny()?.args(["check", "bans", "licenses", "sources"]))
}

/// Checks for security advisories and yanked crates. The RustSec database must be fetched for this; where that is impossible,
/// the check is reported as not run.
///
/// # Errors
/// If an advisory concerns a dependency, or cargo-deny is missing.
pub fn advisories() -> Result<Outcome> {
    let fetched = deny()?.args(["fetch", "db"]).output()?;
    if !fetched.status.success() {
        let output = String::from_utf8_lossy(&fetched.stderr);
        let reason = output.lines().rfind(|line| line.starts_with("fatal:") || line.contains("[ERROR]"));
        return Ok(Outcome::NotRun(format!(
            "the RustSec advisory database cannot be fetched here ({}); the workflow checks advisories",
            reason.unwrap_or("no reason given").trim()
        )));
    }
    show(deny()?.args(["check", "advisories"]))
}

fn deny() -> Result<Command> {
    if !is_installed() {
        bail!("{PROGRAM} is not installed: run `cargo xtask setup --tests`");
    }
    let mut command = workspace::cargo();
    command.args(["deny", "--locked", "--color", "never"]);
    Ok(command)
}
