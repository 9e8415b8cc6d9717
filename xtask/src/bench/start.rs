//! Time from the agent's start until it has scanned every network namespace and knows its pods.

use anyhow::Result;

use super::agent::Agent;
use super::median::median;
use super::netns::Netns;
use super::{Bench, Row};
use crate::stopwatch::Stopwatch;

const NAMESPACES: usize = 100;
const STARTS: usize = 5;

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut made = Vec::new();
    for n in 0..NAMESPACES {
        let netns = Netns::make(&format!("start{n}"))?;
        netns.add_interface()?;
        made.push(netns);
    }
    // One pod: the agent accepts an empty file only after a second.
    let names: Vec<&str> = made.iter().take(1).map(Netns::name).collect();
    let manifest = bench.manifest("start.yaml", &names)?;
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        let since = Stopwatch::start();
        let agent = Agent::start(&bench.agent, &manifest, &[])?;
        seconds.push(since.elapsed().as_secs_f64());
        drop(agent);
    }
    let median = median(&seconds);
    let slowest = seconds.into_iter().fold(0.0, f64::max);
    Ok(vec![Row::new(
        "start to the end of the first scan",
        format!("{:.0} ms (slowest {:.0})", median * 1e3, slowest * 1e3),
        "≤ 1000 ms",
        median <= 1.0,
        format!(
            "exec to /readyz 200, asked every 20 ms, with {NAMESPACES} namespaces to load programs for; median of {STARTS}"
        ),
    )])
}
