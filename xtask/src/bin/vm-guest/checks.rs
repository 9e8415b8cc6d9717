//! What the agent must report on a kernel that it fully supports.

use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::{self, Agent, Records, number, text};
use crate::console::Console;
use crate::sockets;
use crate::system::{has_protocol, tool};
use crate::world::{ADDRESS, APP, DECLARED, IPV6_ADDRESS, NETKIT_ADDRESS, VLAN_ADDRESS, World};
use crate::{clock, killed};

const OLDER: u16 = 9000;
const UNDECLARED: u16 = 9090;
const ON_VLAN: u16 = 9191;
const ON_IPV6: u16 = 9292;
const ON_NETKIT: u16 = 9393;
const UDP: u16 = 5353;
const SCTP: u16 = 7070;
pub const CALLS: usize = 7;

/// Runs every check; each says its own result.
///
/// # Errors
/// Where the agent cannot be started.
pub fn run(console: &mut Console, world: &World) -> Result<()> {
    sockets::serve_tcp(OLDER)?;
    let sctp = has_protocol("SCTP").then(|| sockets::listen_sctp(SCTP));
    let mut agent = Agent::start()?;
    console.result("ready", agent.wait_status(hooks));
    console.result("older-listener", agent.wait(|records| opened(records, "TCP", OLDER)));
    console.result("declared", declared(&mut agent));
    console.result("connections", called(&mut agent, ADDRESS, UNDECLARED));
    console.result("udp", udp(&mut agent, UDP));
    let ways = [
        ("ipv6", &world.no_ipv6, IPV6_ADDRESS, ON_IPV6),
        ("vlan", &world.no_vlan, VLAN_ADDRESS, ON_VLAN),
        ("netkit", &world.no_netkit, NETKIT_ADDRESS, ON_NETKIT),
    ];
    for (name, why_not, address, port) in ways {
        match why_not {
            Some(why) => console.skipped(name, why),
            None => console.result(name, called(&mut agent, address, port)),
        }
    }
    match sctp {
        None => console.skipped("sctp", "this kernel has no SCTP"),
        Some(listener) => console.result("sctp", self::sctp(&mut agent, listener)),
    }
    console.result("clock-jump", clock::jump(&mut agent));
    console.result("hooks-at-the-end", agent.wait_status(hooks));
    console.result("clean-end", clean_end(agent));
    agent::show_log(console);
    console.result("killed", killed::leaves_nothing_that_counts());
    Ok(())
}

/// Every hook is attached.
pub fn hooks(status: &Value) -> Result<String> {
    let hooks = status.pointer("/hooks").and_then(|hooks| hooks.as_array()).context("no hooks")?;
    ensure!(!hooks.is_empty(), "the list of hooks is empty");
    for hook in hooks {
        ensure!(text(hook, "/state") == "attached", "not attached: {hook}");
    }
    Ok(hooks.iter().map(|hook| text(hook, "/name")).collect::<Vec<_>>().join(" "))
}

/// The listener is reported, and belongs to its pod.
fn opened(records: &Records, protocol: &str, port: u16) -> Result<String> {
    let listener = records.last("Listener", protocol, port).context("no Listener of that port")?;
    ensure!(text(listener, "/state") == "open", "not open: {listener}");
    Ok(text(listener, "/declaration/status").to_owned())
}

/// A declared port that is called is a listener, and no finding.
fn declared(agent: &mut Agent) -> Result<String> {
    sockets::serve_tcp(DECLARED)?;
    sockets::call_tcp(ADDRESS, DECLARED, CALLS)?;
    agent.wait(|records| {
        let status = opened(records, "TCP", DECLARED)?;
        ensure!(status == "declared", "its declaration is {status}");
        ensure!(records.last("Finding", "TCP", DECLARED).is_none(), "it is a finding");
        Ok(status)
    })
}

/// An undeclared port: found, then found active, with exactly the connections that were made.
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

/// A UDP port: every datagram once, with its length.
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

fn sctp(agent: &mut Agent, listener: Result<OwnedFd>) -> Result<String> {
    let _listener = listener.context("listen")?;
    sockets::call_sctp(ADDRESS, SCTP).context("call")?;
    agent.wait(|records| opened(records, "SCTP", SCTP))?;
    agent.wait_findings(|records| {
        let finding = records.last("Finding", "SCTP", SCTP).context("no Finding of that port")?;
        let (code, packets) = (text(finding, "/code"), number(finding, "/traffic/packets"));
        ensure!(code == "undeclared-active" && packets > 0, "its code is {code}, with {packets} packets");
        Ok(format!("{packets} packets"))
    })
}

/// The agent ends as asked, and leaves no filter on the pod's interface.
pub fn clean_end(agent: Agent) -> Result<String> {
    let code = agent.end()?;
    ensure!(code == Some(0), "its exit code is {code:?}");
    let left = filters()?;
    if !left.is_empty() {
        bail!("filters are left: {left}");
    }
    Ok(String::new())
}

/// The classic filters on the pod's interface; those of TCX are not among them.
pub fn filters() -> Result<String> {
    Ok(tool(&["tc", "-n", APP, "filter", "show", "dev", "eth0", "ingress"])?.trim().to_owned())
}
