//! A load generator as a child process: killed on drop, its output read line by line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::netns::Netns;
use crate::step;

/// A running `xtask load …`.
pub struct Generator {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Generator {
    /// Starts a load generator in `netns`. `words` follow `load` on the command line.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(netns: &Netns, words: &[&str]) -> Result<Self> {
        // This path leads to the running program also after another build has replaced its file.
        let mut command = netns.command(format!("/proc/{}/exe", std::process::id()));
        command.arg("load").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C on the terminal does not reach it: the command that started it ends it.
        command.process_group(0);
        let mut child = spawn(&mut command)?;
        let out = BufReader::new(child.stdout.take().context("it has no stdout")?);
        Ok(Self { child, out })
    }

    /// Returns the next line of output.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.out.read_line(&mut line)? == 0 {
            bail!("a load generator ended before its time");
        }
        Ok(line.trim().to_owned())
    }

    /// Sends a line to the load generator.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.child.stdin.as_mut().context("it has no stdin")?, "{line}")?)
    }

    /// Sends a line to the load generator, and returns its answer.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.line()
    }

    /// Kills the load generator with SIGKILL.
    pub fn kill(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the load generator's next part.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn go(&mut self) -> Result<()> {
        self.tell("")
    }

    /// Ends the load generator, and returns the number that it prints.
    ///
    /// # Errors
    /// If the process fails or prints no number.
    pub fn number(mut self) -> Result<f64> {
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start {}", step::line_of(command)))
}
