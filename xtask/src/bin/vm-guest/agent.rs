//! The agent under test, and the records that it has written.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::console::Console;
use crate::world::MANIFEST;

pub const BINARY: &str = "/portolan";
const RECORDS: &str = "/tmp/agent.ndjson";
const LOG: &str = "/tmp/agent.log";
/// Maximum time for any reaction of the agent: this machine is emulated, and may share its processors.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);

/// A running agent.
pub struct Agent {
    child: Child,
}

impl Agent {
    /// # Errors
    /// If the agent cannot be started.
    pub fn start() -> Result<Self> {
        let child = Command::new(BINARY)
            .args(["agent", "--node-name", "guest", "--grace", "1s", "--telemetry", "off"])
            .args(["--metadata", &format!("file={MANIFEST}")])
            .stdin(Stdio::null())
            .stdout(File::create(RECORDS)?)
            .stderr(File::create(LOG)?)
            .spawn()
            .context("start the agent")?;
        Ok(Self { child })
    }

    /// Waits until the records meet an expectation.
    ///
    /// # Errors
    /// If the agent ends or takes too long. The message contains the last unmet expectation.
    pub fn wait<T>(&mut self, look: impl Fn(&Records) -> Result<T>) -> Result<T> {
        let mut waited = Duration::ZERO;
        loop {
            let why = match Records::read().and_then(|records| look(&records)) {
                Ok(found) => return Ok(found),
                Err(why) => why,
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}: {}", last_lines());
            }
            if waited > PATIENCE {
                return Err(why);
            }
            sleep(STEP);
            waited += STEP;
        }
    }

    /// Polls the agent's status until it meets an expectation.
    ///
    /// # Errors
    /// If the agent ends or takes too long.
    pub fn wait_status(&mut self, look: impl Fn(&Value) -> Result<String>) -> Result<String> {
        self.wait(|_| look(&ask("status")?))
    }

    /// Polls the agent's findings until they meet an expectation. The traffic of a finding grows without a record per connection.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_findings(&mut self, look: impl Fn(&Records) -> Result<String>) -> Result<String> {
        self.wait(|_| look(&Records(list("findings")?)))
    }

    /// Kills the agent with SIGKILL.
    ///
    /// # Errors
    /// If the agent cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the agent with SIGTERM. Returns its exit code.
    ///
    /// # Errors
    /// If the agent does not end.
    pub fn end(mut self) -> Result<Option<i32>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            sleep(STEP);
            waited += STEP;
        }
        bail!("it still runs {} s after SIGTERM", PATIENCE.as_secs())
    }
}

/// Returns the output of a client command.
fn ask(command: &str) -> Result<Value> {
    let output = Command::new(BINARY).args([command, "-o", "json"]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).with_context(|| format!("no {command}: {said}"))
}

fn list(command: &str) -> Result<Vec<Value>> {
    let mut answer = ask(command)?;
    let items = answer.get_mut("items").map(Value::take);
    let items = items.unwrap_or(answer);
    items.as_array().cloned().with_context(|| format!("{command} is no list"))
}

/// Prints the agent's diagnostics, for the log.
pub fn show_log(console: &mut Console) {
    for line in fs::read_to_string(LOG).unwrap_or_default().lines() {
        console.note(&format!("agent: {line}"));
    }
}

fn last_lines() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// The agent's records, oldest first.
pub struct Records(Vec<Value>);

impl Records {
    fn read() -> Result<Self> {
        let text = fs::read_to_string(RECORDS)?;
        // The last line may be incomplete.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
        Ok(Self(lines.collect::<Result<_>>()?))
    }

    /// Returns the latest record about a port of the app.
    pub fn last(&self, kind: &str, protocol: &str, port: u16) -> Option<&Value> {
        let of = |record: &&Value| {
            let listener = record.get("listener").unwrap_or(record);
            text(record, "/kind") == kind
                && text(record, "/pod/name") == "app"
                && text(listener, "/protocol") == protocol
                && listener.pointer("/port").and_then(Value::as_u64) == Some(u64::from(port))
        };
        self.0.iter().rev().find(of)
    }
}

/// Returns a string in an object; empty if absent.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a number in an object; 0 if absent.
pub fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}
