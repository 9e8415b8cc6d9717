//! The agent that the demo runs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::process::{end, spawn};
use crate::stopwatch::Stopwatch;

/// Node name of the demo's agent. A later demo finds an agent that was left running by it.
pub const NODE: &str = "portolan-demo";
/// Maximum time until the agent is ready.
const START: Duration = Duration::from_secs(30);

/// A running agent, killed on drop.
pub struct Agent {
    child: Child,
    records: PathBuf,
    log: PathBuf,
    api: SocketAddr,
    telemetry: SocketAddr,
    binary: PathBuf,
    kept: bool,
}

impl Agent {
    /// Starts the agent, with its records in a file.
    ///
    /// # Errors
    /// If the agent cannot be started.
    pub fn start(binary: &Path, directory: &Path, manifest: &Path) -> Result<Self> {
        let (records, log) = (directory.join("agent.ndjson"), directory.join("agent.log"));
        let (api, telemetry) = (free_address(9470)?, free_address(9471)?);
        let output =
            std::fs::File::create(&records).with_context(|| format!("cannot write {}", records.display()))?;
        let mut command = Command::new(binary);
        command
            .args(["agent", "--node-name", NODE, "--output", "ndjson", "--grace", "2s"])
            .arg("--metadata")
            .arg(format!("file={}", manifest.display()))
            .args(["--api", &api.to_string(), "--telemetry", &telemetry.to_string()])
            .stdout(output);
        let child = spawn(&mut command, &log)?;
        Ok(Self { child, records, log, api, telemetry, binary: binary.to_owned(), kept: false })
    }

    /// Returns the file of the agent's NDJSON records.
    pub fn records(&self) -> &Path {
        &self.records
    }

    /// Returns the address of the agent's API and page.
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Returns the file of the agent's diagnostics.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the agent is ready.
    ///
    /// # Errors
    /// If the agent ends or takes too long.
    pub fn wait_ready(&mut self, stop: &AtomicBool) -> Result<()> {
        let since = Stopwatch::start();
        while !is_ready(self.telemetry) {
            self.must_live()?;
            super::pause(stop)?;
            if since.elapsed() > START {
                bail!("the agent was not ready within {} s; see {}", START.as_secs(), self.log.display());
            }
        }
        Ok(())
    }

    /// Checks that the agent is running.
    ///
    /// # Errors
    /// If the agent has ended; the message contains its diagnostics.
    pub fn must_live(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("the agent ended with {status}: {}", said.trim())
    }

    /// Prints the file of the records, and how to query an agent that keeps running.
    pub fn where_to_look(&self, keep: bool) {
        println!(
            "\nWhere to look next:\n  every record, one JSON object per line: {}",
            self.records.display()
        );
        if !keep {
            println!("  the same with everything left running:  cargo xtask demo --keep");
            return;
        }
        println!("  in a browser:     http://{}/", self.api);
        println!("  over HTTP:        http://{}/v1/findings", self.api);
        println!("  on a terminal:    {} findings --server http://{}", self.binary.display(), self.api);
        println!("  metrics:          http://{}/metrics", self.telemetry);
        println!("  to end it:        cargo xtask demo --stop");
    }

    /// Leaves the agent running.
    pub fn release(mut self) {
        self.kept = true;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.kept {
            end(&mut self.child);
        }
    }
}

/// Returns the wanted port on loopback if free, else any free port.
///
/// # Errors
/// If no port is free.
pub fn free_address(wanted: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}

/// Returns true if the agent with this telemetry address is ready.
pub fn is_ready(telemetry: SocketAddr) -> bool {
    get(telemetry, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Returns an HTTP response, head and body.
///
/// # Errors
/// If there is no response within seconds.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(16 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}
