//! The checks on a kernel that the agent fully supports.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent, number, text};
use crate::console::Console;
use crate::expectations::{CALLS, called, clean_end, hooks, opened, udp};
use crate::sockets;
use crate::system::has_protocol;
use crate::world::{ADDRESS, DECLARED, IPV6_ADDRESS, NETKIT_ADDRESS, VLAN_ADDRESS, World};
use crate::{clock, killed};

const OLDER: u16 = 9000;
const UNDECLARED: u16 = 9090;
const ON_VLAN: u16 = 9191;
const ON_IPV6: u16 = 9292;
const ON_NETKIT: u16 = 9393;
const UDP: u16 = 5353;
const SCTP: u16 = 7070;

/// Runs every check. Each check prints its own result.
///
/// # Errors
/// If the agent cannot be started.
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

/// Checks that a declared port with connections is a listener and no finding.
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
