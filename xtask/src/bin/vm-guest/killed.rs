//! Checks what a killed agent leaves in the kernel: it must count nothing, and the next agent must remove it.

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::expectations::{called, clean_end, filters, hooks, udp};
use crate::sockets;
use crate::world::ADDRESS;

const BEFORE: u16 = 9494;
const AFTER: u16 = 9595;
const UDP: u16 = 5454;

/// Kills an agent, lists what is left, and checks the counts of a second agent.
///
/// # Errors
/// If the first agent left something that counts, or the second agent fails.
pub fn leaves_nothing_that_counts() -> Result<String> {
    let mut first = Agent::start()?;
    first.wait_status(hooks).context("the first agent")?;
    sockets::serve_tcp(BEFORE)?;
    first.wait(|records| records.last("Listener", "TCP", BEFORE).context("not listed").map(drop))?;
    first.kill()?;
    let left = filters()?.lines().filter(|line| line.contains("portolan")).count();
    // Traffic still passes the filters that are left.
    sockets::call_tcp(ADDRESS, BEFORE, 3)?;
    let mut second = Agent::start()?;
    second.wait_status(hooks).context("the second agent")?;
    let now = filters()?.lines().filter(|line| line.contains("portolan")).count();
    ensure!(now <= 1, "{now} filters count side by side: {}", filters()?);
    // If a filter of the first agent still counted, each datagram would be counted twice.
    udp(&mut second, UDP).context("the second agent")?;
    called(&mut second, ADDRESS, AFTER).context("the second agent")?;
    clean_end(second)?;
    Ok(format!("{left} filters were left, and are gone"))
}
