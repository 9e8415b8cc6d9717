//! What the tc program costs per packet, as the kernel itself measures it (BPF_PROG_TEST_RUN).

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Bench, Row};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct PacketCost {
    what: String,
    program: f64,
    empty: f64,
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let output = Command::new(&bench.packet_cost).output().context("cannot start packet_cost")?;
    if !output.status.success() {
        bail!("packet_cost: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let costs: Vec<PacketCost> = serde_json::from_slice(&output.stdout)?;
    Ok(costs.iter().map(row).collect())
}

fn row(cost: &PacketCost) -> Row {
    let (what, goal) = match cost.what.as_str() {
        "tcp-listening" => ("tc program, established TCP packet to a listening port", 40.0),
        "tcp-silent" => ("tc program, TCP packet to a port that does not listen", 25.0),
        "udp-datagram" => ("tc program, UDP datagram to a listening port", 60.0),
        other => (other, 0.0),
    };
    let above = cost.program - cost.empty;
    Row::new(
        what,
        format!("{above:.0} ns ({:.0} less {:.0} of an empty program)", cost.program, cost.empty),
        &format!("≤ {goal:.0} ns"),
        above <= goal,
        "BPF_PROG_TEST_RUN, IPv4, known peer; medians of 15 runs of 200,000 packets, in turns".to_owned(),
    )
}
