//! Cost of the tc program per packet (BPF_PROG_TEST_RUN) and of the sendmsg hook per datagram, measured by the kernel.

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
    let above = cost.program - cost.empty;
    let measured = format!("{above:.0} ns ({:.0} less {:.0} of an empty program)", cost.program, cost.empty);
    let (what, goal) = match cost.what.as_str() {
        "tcp-listening" => ("established TCP packet to a listening port", Some(40.0)),
        "tcp-silent" => ("TCP packet to a port that does not listen", Some(25.0)),
        "tcp-syn" => ("SYN to a listening port", None),
        "tcp-syn-silent" => ("SYN to a port that does not listen", None),
        "datagram-sent" => ("datagram sent from a counted port to a known peer", None),
        "datagram-sent-uncounted" => ("datagram sent from a port that is not counted", None),
        "udp-datagram" => ("UDP datagram to a listening port", Some(60.0)),
        "tcp-ipv6" => ("established TCP packet over IPv6", None),
        "tcp-ip-options" => ("one that only the helper can parse (IP options, no link header)", None),
        "one-flow" => ("one flow, each packet by a system call of its own", None),
        "two-flows" => ("two flows in turns, likewise", None),
        "many-flows" => ("128 flows in turns, likewise: more than a CPU keeps", None),
        other => (other, None),
    };
    Row::new(
        &format!("{}, {what}", if cost.what.starts_with("datagram") { "sendmsg hook" } else { "tc program" }),
        measured,
        &goal.map_or_else(|| "none".to_owned(), |goal| format!("≤ {goal:.0} ns")),
        goal.is_none_or(|goal| above <= goal),
        match cost.what.as_str() {
            "datagram-sent" | "datagram-sent-uncounted" => {
                "the kernel's statistics of attached programs, which cost some of it; medians of 15 runs of 50,000"
            }
            "one-flow" | "two-flows" | "many-flows" => {
                "BPF_PROG_TEST_RUN, one packet each; mean of the middle half of 20,000"
            }
            _ => "BPF_PROG_TEST_RUN, known peer; medians of 15 runs of 200,000 packets, in turns",
        }
        .to_owned(),
    )
}
