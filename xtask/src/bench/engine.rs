//! Time of one input in the engine, and its growth with the number of pods.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Bench, Row};

/// Goal for the median with 1,000 pods, in nanoseconds.
const MOST: f64 = 5_000.0;
/// Goal for the ratio of 1,000 pods to 10 pods.
const FLAT: f64 = 1.5;

/// Goal for the calls per minute of all ports that are kept, in bytes: a tenth of what the agent may take on a full node.
const MOST_MINUTES: f64 = 4e6;

/// What the example prints.
#[derive(serde::Deserialize)]
struct Measured {
    inputs: Vec<Cost>,
    minutes_bytes: f64,
    ports: usize,
}

#[derive(serde::Deserialize)]
struct Cost {
    what: String,
    /// Medians with 10, 100 and 1,000 pods; the inputs concern the same ten pods.
    median_ns: [f64; 3],
    /// Median with inputs about each of 1,000 pods in turn.
    cold_ns: f64,
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let output = Command::new(&bench.engine_cost).output().context("cannot start engine_cost")?;
    if !output.status.success() {
        bail!("engine_cost: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let Measured { inputs, minutes_bytes, ports } = serde_json::from_slice(&output.stdout)?;
    let mut rows: Vec<Row> = inputs.iter().map(row).collect();
    rows.push(Row::new(
        "calls per minute, memory",
        format!("{:.1} MB, {:.0} bytes a port", minutes_bytes / 1e6, minutes_bytes / ports as f64),
        "≤ 4 MB",
        minutes_bytes <= MOST_MINUTES,
        format!("resident memory that the last hour of {ports} ports adds, the most that are kept, with their index"),
    ));
    Ok(rows)
}

fn row(cost: &Cost) -> Row {
    let [ten, hundred, thousand] = cost.median_ns;
    let growth = thousand / ten.max(1.0);
    Row::new(
        &format!("engine, {}", cost.what),
        format!("{:.1} / {:.1} / {:.1} µs ({growth:.2} times)", ten / 1e3, hundred / 1e3, thousand / 1e3),
        "≤ 5 µs, within 1.5 times",
        thousand <= MOST && growth <= FLAT,
        format!(
            "median of 4,000 inputs about ten pods of 10 / 100 / 1,000 with 8 Services each; about each of 1,000 in turn {:.1} µs",
            cost.cold_ns / 1e3
        ),
    )
}
