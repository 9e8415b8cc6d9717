//! Requests to the API server by a cluster's agents: simulated against the stand-in server at sizes that fit on this machine, and
//! taken from there to a large cluster.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Bench, Row};

/// Agents of the two simulations. Every request is some agent's own, so the numbers must grow as the agents do: the second
/// simulation shows whether they do.
const SIZES: [u64; 2] = [250, 1_000];
/// Nodes of the cluster to which the model takes them.
const LARGE: u64 = 5_000;
/// Greatest deviation from proportion at which the model holds.
const DEVIATION: f64 = 0.15;

#[derive(serde::Deserialize)]
struct Simulated {
    agents: u64,
    watches: u64,
    start: Phase,
    steady: Phase,
    away: Phase,
    back: Phase,
}

/// Duration in seconds of the agents' time.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Phase {
    requests: u64,
    seconds: u64,
    peak_per_second: u64,
    per_second: f64,
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let [small, large] = SIZES.map(|agents| simulate(bench, agents));
    Ok(rows(&small?, &large?))
}

fn simulate(bench: &Bench, agents: u64) -> Result<Simulated> {
    let output =
        Command::new(&bench.api_load).arg(agents.to_string()).output().context("cannot start api_load")?;
    if !output.status.success() {
        bail!("api_load: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn rows(small: &Simulated, large: &Simulated) -> Vec<Row> {
    let per_watch = |phase: &Phase| ratio(phase.requests, large.watches);
    let row = |what: &str, of: fn(&Simulated) -> &Phase, goal: &str, met: bool| {
        let (before, phase) = (of(small), of(large));
        let times = ratio(LARGE, large.agents);
        let grown = ratio(phase.requests, before.requests) / ratio(large.agents, small.agents);
        let fits = (grown - 1.0).abs() <= DEVIATION;
        let measured = format!(
            "{:.1} requests/s (peak {}) of {} agents; {} agents: {:.0} requests/s (peak {:.0})",
            phase.per_second,
            phase.peak_per_second,
            large.agents,
            LARGE,
            phase.per_second * times,
            ratio(phase.peak_per_second, 1) * times,
        );
        let how = format!(
            "{} watches, waits ten times shorter; {} requests, {:.2} per watch, in {} s of theirs; {:.2} times as many per agent \
             as with {} agents{}",
            large.watches,
            phase.requests,
            per_watch(phase),
            phase.seconds,
            grown,
            small.agents,
            if fits { ", so the model holds" } else { ": the model does not hold" },
        );
        Row::new(&format!("API server, {what}"), measured, goal, met && fits, how)
    };
    let steady = ratio(large.steady.requests * 60, large.steady.seconds * large.agents);
    vec![
        row(
            "all agents start at once",
            |all| &all.start,
            "≤ 2 requests per watch",
            per_watch(&large.start) <= 2.0,
        ),
        row(
            &format!("steady state, {steady:.2} requests a minute and agent"),
            |all| &all.steady,
            "≤ 0.6 requests a minute and agent",
            steady <= 0.6,
        ),
        row(
            "away for 10 minutes",
            |all| &all.away,
            "≤ 1 connection per agent in 15 s",
            large.away.per_second <= ratio(large.agents, 15),
        ),
        row("back", |all| &all.back, "≤ 2 requests per watch", per_watch(&large.back) <= 2.0),
    ]
}

fn ratio(a: u64, b: u64) -> f64 {
    let float = |n: u64| u32::try_from(n).map_or(f64::MAX, f64::from);
    float(a) / float(b).max(1.0)
}
