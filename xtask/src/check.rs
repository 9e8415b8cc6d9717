//! The outcome of one check of `cargo xtask ci`, and how a check runs a program.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step;

/// How a check ended that found nothing wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Green,
    /// The check could not run here, for this reason.
    NotRun(String),
}

/// Runs a program with its output visible.
///
/// # Errors
/// If the program cannot start or fails.
pub fn show(command: &mut Command) -> Result<Outcome> {
    println!("$ {}", step::line_of(command));
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(Outcome::Green) } else { bail!("it ended with {status}") }
}
