//! Starts and ends the demo's processes.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::step;

/// Starts a program in a process group of its own, with its stderr in `log`. Ctrl-C on the terminal does not reach the
/// program: the demo ends it.
///
/// # Errors
/// If the log cannot be written or the program cannot be started.
pub fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", step::line_of(command)))
}

/// Kills a child and waits for it.
pub fn end(child: &mut Child) {
    // Both calls fail only if the child has already ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Kills a process that is not a child.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Fails only if the process has already ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}
