//! An agent that is killed: what it leaves in the kernel counts nothing, and the next agent takes it away.

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::expectations::{called, clean_end, filters, hooks, udp};
use crate::sockets;
use crate::world::ADDRESS;

const BEFORE: u16 = 9494;
const AFTER: u16 = 9595;
const UDP: u16 = 5454;

/// Kills one, looks at what is left, and lets another count.
///
/// # Errors
/// With what it left that matters.
pub fn leaves_nothing_that_counts() -> Result<String> {
    let mut first = Agent::start()?;
    first.wait_status(hooks).context("the first agent")?;
    sockets::serve_tcp(BEFORE)?;
    first.wait(|records| records.last("Listener", "TCP", BEFORE).context("not listed").map(drop))?;
    first.kill()?;
    let left = filters()?.lines().filter(|line| line.contains("portolan")).count();
    // Traffic passes what is left.
    sockets::call_tcp(ADDRESS, BEFORE, 3)?;
    let mut second = Agent::start()?;
    second.wait_status(hooks).context("the second agent")?;
    let now = filters()?.lines().filter(|line| line.contains("portolan")).count();
    ensure!(now <= 1, "{now} filters count side by side: {}", filters()?);
    // Were a filter of the first still counting, each datagram would be there twice.
    udp(&mut second, UDP).context("the second agent")?;
    called(&mut second, ADDRESS, AFTER).context("the second agent")?;
    clean_end(second)?;
    Ok(format!("{left} filters were left, and are gone"))
}
