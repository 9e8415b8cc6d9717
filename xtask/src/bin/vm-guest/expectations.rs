//! Expectations that several checks share: what an agent must report, and what it may leave behind.

use std::net::Ipv6Addr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::{Agent, Records, number, text};
use crate::sockets;
use crate::system::tool;
use crate::world::{ADDRESS, APP};

/// Number of connections or datagrams that a check sends.
pub const CALLS: usize = 7;

/// Expects every hook to be attached.
pub fn hooks(status: &Value) -> Result<String> {
    let hooks = status.pointer("/hooks").and_then(|hooks| hooks.as_array()).context("no hooks")?;
    ensure!(!hooks.is_empty(), "the list of hooks is empty");
    for hook in hooks {
        ensure!(text(hook, "/state") == "attached", "not attached: {hook}");
    }
    Ok(hooks.iter().map(|hook| text(hook, "/name")).collect::<Vec<_>>().join(" "))
}

/// Expects an open listener. Returns its declaration.
pub fn opened(records: &Records, protocol: &str, port: u16) -> Result<String> {
    let listener = records.last("Listener", protocol, port).context("no Listener of that port")?;
    ensure!(text(listener, "/state") == "open", "not open: {listener}");
    Ok(text(listener, "/declaration/status").to_owned())
}

/// Serves and calls an undeclared port. Expects a finding, then an active one with exactly the connections that were made.
pub fn called(agent: &mut Agent, address: &str, port: u16) -> Result<String> {
    if address.contains(':') {
        sockets::serve_tcp_on(Ipv6Addr::UNSPECIFIED.into(), port)?;
    } else {
        sockets::serve_tcp(port)?;
    }
    agent.wait(|records| {
        opened(records, "TCP", port)?;
        records.last("Finding", "TCP", port).context("no Finding of that port").map(drop)
    })?;
    sockets::call_tcp(address, port, CALLS)?;
    agent.wait_findings(|records| {
        let finding = records.last("Finding", "TCP", port).context("no Finding of that port")?;
        let (code, connections) = (text(finding, "/code"), number(finding, "/traffic/connections"));
        let (packets, bytes) = (number(finding, "/traffic/packets"), number(finding, "/traffic/bytes"));
        ensure!(code == "undeclared-active", "its code is {code}");
        ensure!(connections == CALLS as u64, "{connections} connections, not {CALLS}");
        // A whole connection takes at least SYN, ACK, data and FIN towards the server.
        ensure!(packets >= 4 * CALLS as u64, "only {packets} packets");
        Ok(format!("{connections} connections, {packets} packets, {bytes} bytes"))
    })
}

/// Serves and calls a UDP port. Expects every datagram to be counted once, with its length.
pub fn udp(agent: &mut Agent, port: u16) -> Result<String> {
    sockets::serve_udp(port)?;
    agent.wait(|records| opened(records, "UDP", port))?;
    sockets::call_udp(ADDRESS, port, CALLS)?;
    agent.wait_findings(|records| {
        let finding = records.last("Finding", "UDP", port).context("no Finding of that port")?;
        let (code, packets) = (text(finding, "/code"), number(finding, "/traffic/packets"));
        let (bytes, expected) = (number(finding, "/traffic/bytes"), CALLS * sockets::DATAGRAM);
        ensure!(code == "undeclared-active", "its code is {code}");
        ensure!(packets == CALLS as u64, "{packets} packets, not {CALLS}");
        ensure!(bytes == expected as u64, "{bytes} bytes, not {expected}");
        Ok(format!("{packets} packets, {bytes} bytes"))
    })
}

/// Ends the agent. Expects exit code 0 and no filter on the pod's interface.
pub fn clean_end(agent: Agent) -> Result<String> {
    let code = agent.end()?;
    ensure!(code == Some(0), "its exit code is {code:?}");
    let left = filters()?;
    if !left.is_empty() {
        bail!("filters are left: {left}");
    }
    Ok(String::new())
}

/// Returns the clsact filters on the pod's interface, without TCX programs.
pub fn filters() -> Result<String> {
    Ok(tool(&["tc", "-n", APP, "filter", "show", "dev", "eth0", "ingress"])?.trim().to_owned())
}
