//! Requests to the API server by a cluster's agents: simulated, against the stand-in server.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Bench, Row};

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
    let output = Command::new(&bench.api_load).output().context("cannot start api_load")?;
    if !output.status.success() {
        bail!("api_load: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let simulated: Simulated = serde_json::from_slice(&output.stdout)?;
    Ok(rows(&simulated))
}

fn rows(simulated: &Simulated) -> Vec<Row> {
    let Simulated { agents, watches, start, steady, away, back } = simulated;
    let per_watch = |phase: &Phase| ratio(phase.requests, *watches);
    let row = |what: &str, phase: &Phase, goal: &str, met| {
        let measured = format!("{:.0} requests/s (peak {})", phase.per_second, phase.peak_per_second);
        let how = format!(
            "{agents} agents with {watches} watches, waits ten times shorter; {} requests, {:.2} per watch, in {} s of theirs",
            phase.requests,
            per_watch(phase),
            phase.seconds
        );
        Row::new(&format!("API server, {what}"), measured, goal, met, how)
    };
    // A watch lasts five to ten minutes.
    let steady_goal = ratio(*watches, 400);
    vec![
        row("all agents start at once", start, "≤ 2 requests per watch", per_watch(start) <= 2.0),
        row(
            "steady state",
            steady,
            &format!("≤ {steady_goal:.0} requests/s"),
            steady.per_second <= steady_goal,
        ),
        row("away", away, "≤ 1 connection per agent in 15 s", away.per_second <= ratio(*agents, 15)),
        row("back after an outage", back, "≤ 2 requests per watch", per_watch(back) <= 2.0),
    ]
}

fn ratio(a: u64, b: u64) -> f64 {
    let float = |n: u64| u32::try_from(n).map_or(f64::MAX, f64::from);
    float(a) / float(b).max(1.0)
}
