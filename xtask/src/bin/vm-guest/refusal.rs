//! The checks on a kernel that is too old: the agent reports it and ends with its exit code, and scans work.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::{BINARY, text};
use crate::console::Console;
use crate::sockets;
use crate::world::{DECLARED, MANIFEST, World};

const UNDECLARED: u16 = 9090;
const REFUSED: i32 = 4;

/// # Errors
/// If the listeners cannot be created.
pub fn check(console: &mut Console, _world: &World) -> Result<()> {
    sockets::serve_tcp(DECLARED)?;
    sockets::serve_tcp(UNDECLARED)?;
    console.result("agent-refuses", agent_refuses());
    console.result("scan-finds", scan_finds());
    console.result("doctor-says-no", doctor_says_no());
    Ok(())
}

fn agent_refuses() -> Result<String> {
    let output = run(&["agent", "--metadata", &format!("file={MANIFEST}"), "--telemetry", "off"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(REFUSED), "it ended with {}, and said: {said}", output.status);
    ensure!(said.contains("does not allow it"), "it does not say why: {said}");
    Ok(said)
}

fn scan_finds() -> Result<String> {
    let output = run(&["scan", "--metadata", &format!("file={MANIFEST}"), "-o", "json"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "it ended with {}, and said: {said}", output.status);
    let list: Value = serde_json::from_slice(&output.stdout).context("its output is not JSON")?;
    let items = list.get("items").unwrap_or(&list).as_array().context("its output is no list")?;
    let of = |port: u16| {
        items
            .iter()
            .find(|item| item.pointer("/listener/port").and_then(Value::as_u64) == Some(u64::from(port)))
    };
    ensure!(of(DECLARED).is_none(), "the declared port is a finding");
    let Some(finding) = of(UNDECLARED) else { bail!("the undeclared port is no finding in {list}") };
    ensure!(text(finding, "/pod/name") == "app", "the finding belongs to no pod: {finding}");
    Ok(text(finding, "/code").to_owned())
}

fn doctor_says_no() -> Result<String> {
    let output = run(&["doctor"])?;
    ensure!(!output.status.success(), "doctor finds nothing missing");
    Ok(format!("exit code {}", output.status.code().unwrap_or(-1)))
}

fn run(words: &[&str]) -> Result<Output> {
    Command::new(BINARY).args(words).stdin(Stdio::null()).output().context("start portolan")
}
