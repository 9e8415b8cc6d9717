//! The agent on an ordinary node: resident memory with 80 pods of five undeclared ports each.

use std::time::Duration;

use anyhow::Result;

use super::agent::Agent;
use super::pods::Pods;
use super::{Bench, Row};

const PODS: usize = 80;
/// Five listeners in each pod, and ten peers of its UDP port.
const TCP: &str = "4";
const UDP: &str = "1";
const PEERS: &str = "10";
/// Goal in megabytes.
const MOST: f64 = 24.0;
/// Time until what only the start needs is released, and the sockets of the peers are forgotten.
const SETTLE: Duration = Duration::from_secs(90);

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut pods = Pods::start("ordinary", PODS, &["--tcp", TCP, "--udp", UDP, "--peers", PEERS])?;
    let manifest = bench.manifest("ordinary.yaml", &pods.names())?;
    let agent = Agent::start(&bench.agent, &manifest, &[])?;
    pods.send_datagrams()?;
    std::thread::sleep(SETTLE);
    let megabytes = agent.resident_bytes()? as f64 / f64::from(1 << 20);
    Ok(vec![Row::new(
        "resident memory of an ordinary node",
        format!("{megabytes:.1} MB ({})", agent.resident_parts()?),
        "≤ 24 MB",
        megabytes <= MOST,
        format!(
            "{PODS} pods with 4 TCP and 1 UDP listeners each, {PEERS} peers of each UDP port, programs attached"
        ),
    )])
}
