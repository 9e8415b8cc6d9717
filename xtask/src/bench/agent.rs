//! The agent under measurement: starts it, reads its memory and CPU time, and kills it on drop.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::demo::agent::{free_address, is_ready};
use crate::stopwatch::Stopwatch;

/// Maximum time until the agent is ready.
const START: Duration = Duration::from_secs(60);

/// Ticks per second in /proc. The same on all current Linux machines.
const USER_HZ: u64 = 100;

/// A running agent.
pub struct Agent {
    child: Child,
    telemetry: SocketAddr,
    api: SocketAddr,
}

impl Agent {
    /// Starts the agent with `--metadata file=manifest` and `words`, and waits until it is ready.
    ///
    /// # Errors
    /// If the agent does not become ready.
    pub fn start(binary: &Path, manifest: &Path, words: &[&str]) -> Result<Self> {
        Self::start_with(binary, manifest, words, Stdio::null())
    }

    /// Like [`Self::start`], with the records readable.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_piped(binary: &Path, manifest: &Path, words: &[&str]) -> Result<(Self, ChildStdout)> {
        let mut agent = Self::start_with(binary, manifest, words, Stdio::piped())?;
        let out = agent.child.stdout.take().context("the agent has no stdout")?;
        Ok((agent, out))
    }

    /// Like [`Self::start`], without a terminal: SIGHUP makes such an agent read its files again. It ends if this command is
    /// killed.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as_service(binary: &Path, manifest: &Path, words: &[&str]) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "setsid"]).arg(binary);
        Self::run(command, manifest, words, Stdio::null())
    }

    fn start_with(binary: &Path, manifest: &Path, words: &[&str], out: Stdio) -> Result<Self> {
        Self::run(Command::new(binary), manifest, words, out)
    }

    fn run(mut command: Command, manifest: &Path, words: &[&str], out: Stdio) -> Result<Self> {
        let (api, telemetry) = (free_address(0)?, free_address(0)?);
        let log = manifest.with_extension("log");
        let child = command
            .args(["agent", "--node-name", "portolan-bench", "--metadata"])
            .arg(format!("file={}", manifest.display()))
            .args(["--api", &api.to_string(), "--telemetry", &telemetry.to_string()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let mut agent = Self { child, telemetry, api };
        agent.wait_ready(&log)?;
        Ok(agent)
    }

    fn wait_ready(&mut self, log: &Path) -> Result<()> {
        let since = Stopwatch::start();
        while !is_ready(self.telemetry) {
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("the agent ended with {status}: {}", said.trim());
            }
            if since.elapsed() > START {
                bail!("the agent was not ready within {} s", START.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns the response of the HTTP interface for `path`.
    ///
    /// # Errors
    /// If there is no response.
    pub fn ask(&self, path: &str) -> Result<String> {
        crate::demo::agent::get(self.api, path).with_context(|| format!("the agent does not answer {path}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address of the API.
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Returns the address of the metrics.
    pub const fn telemetry(&self) -> SocketAddr {
        self.telemetry
    }

    /// Returns how the agent ended. `None`: it runs.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("the agent ended with {status}")),
            Err(error) => Some(format!("the agent cannot be waited for: {error}")),
        }
    }

    /// Returns the resident memory in bytes.
    ///
    /// # Errors
    /// If the agent has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.split_whitespace().next().context("no VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// Returns how the resident memory splits: the program's own pages as they are in its file, other pages of files, and
    /// the rest, in bytes.
    ///
    /// # Errors
    /// If the agent has ended.
    pub fn resident_parts(&self) -> Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let kilobytes: f64 =
                line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
            kilobytes / 1024.0
        };
        let (anonymous, file, shared) =
            (megabytes("RssAnon:"), megabytes("RssFile:"), megabytes("RssShmem:"));
        Ok(format!("{anonymous:.1} MB of it data, {file:.1} MB pages of the program, {shared:.1} MB rings"))
    }

    /// Returns the CPU time of all threads since the start, user and kernel.
    ///
    /// # Errors
    /// If the agent has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("unknown format of stat")?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
    }

    /// Sends SIGTERM, and returns the time until the agent has ended.
    ///
    /// # Errors
    /// If the agent does not end well.
    pub fn end(mut self) -> Result<Duration> {
        let since = Stopwatch::start();
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        let took = since.elapsed();
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(took)
    }

    /// Returns the share of one core that the agent uses during `length`.
    ///
    /// # Errors
    /// If the agent has ended.
    pub fn share_over(&self, length: Duration) -> Result<f64> {
        let (before, since) = (self.cpu()?, Stopwatch::start());
        std::thread::sleep(length);
        Ok((self.cpu()?.saturating_sub(before)).as_secs_f64() / since.elapsed().as_secs_f64())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
