//! CPU time of the agent for one more network namespace: discovery, scan, loading and attaching programs. Then the time
//! that the agent takes to end with all of them attached.

use std::time::Duration;

use anyhow::{Result, bail};

use super::agent::Agent;
use super::netns::Netns;
use super::{Bench, Row};
use crate::stopwatch::Stopwatch;

const NAMESPACES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let manifest = bench.manifest("attach.yaml", &[])?;
    let agent = Agent::start(&bench.agent, &manifest, &[])?;
    let known = namespaces(&agent)?;
    let before = agent.cpu()?;
    let mut made = Vec::new();
    for n in 0..NAMESPACES {
        let netns = Netns::make(&format!("attach{n}"))?;
        netns.add_interface()?;
        made.push(netns);
    }
    let since = Stopwatch::start();
    while namespaces(&agent)? < known + NAMESPACES as u64 {
        if since.elapsed() > PATIENCE {
            bail!("the agent knows {} namespaces, not {NAMESPACES} more than {known}", namespaces(&agent)?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // The last interfaces are attached within a second.
    std::thread::sleep(Duration::from_secs(2));
    let each = agent.cpu()?.saturating_sub(before).as_secs_f64() * 1e3 / NAMESPACES as f64;
    let attached = Row::new(
        "one more network namespace",
        format!("{each:.2} ms of CPU"),
        "≤ 1.5 ms",
        each <= 1.5,
        format!("CPU time of the agent while {NAMESPACES} with lo and a veth pair are made, per namespace"),
    );
    Ok(vec![attached, end(agent)?])
}

/// Ends the agent once no interface waits for its program.
fn end(agent: Agent) -> Result<Row> {
    let since = Stopwatch::start();
    while agent.ask("/v1/status")?.contains(r#""state":"attaching""#) {
        if since.elapsed() > PATIENCE {
            bail!("the agent still attaches programs");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let links = 2 * NAMESPACES;
    let took = agent.end()?.as_secs_f64() * 1e3;
    Ok(Row::new(
        &format!("SIGTERM to the end, {links} links"),
        format!("{took:.0} ms"),
        "≤ 300 ms",
        took <= 300.0,
        format!("until the process is gone, with programs on {links} interfaces of {NAMESPACES} namespaces"),
    ))
}

fn namespaces(agent: &Agent) -> Result<u64> {
    let answer = agent.ask("/v1/status")?;
    let found = answer.split("\"namespaces\":").nth(1).map(str::trim_start).unwrap_or_default();
    let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
