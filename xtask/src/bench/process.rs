//! A load generator as the benches hold it: ended on drop, its lines awaited.

use std::io::{BufRead, BufReader, Write};
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
    /// Starts it inside `netns`; `words` follow `load`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(netns: &Netns, words: &[&str]) -> Result<Self> {
        let mut command = netns.command(std::env::current_exe()?);
        command.arg("load").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let out = BufReader::new(child.stdout.take().context("it has no stdout")?);
        Ok(Self { child, out })
    }

    /// The next line.
    ///
    /// # Errors
    /// Where it ended instead.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.out.read_line(&mut line)? == 0 {
            bail!("a load generator ended before its time");
        }
        Ok(line.trim().to_owned())
    }

    /// Lets it do its next part.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn go(&mut self) -> Result<()> {
        Ok(self.child.stdin.as_mut().context("it has no stdin")?.write_all(b"\n")?)
    }

    /// The number that it prints at its end.
    ///
    /// # Errors
    /// Where it fails or prints none.
    pub fn number(mut self) -> Result<f64> {
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start {}", step::line_of(command)))
}
