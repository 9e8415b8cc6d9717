//! The agent on a full node: resident memory, and CPU time when idle.

use std::time::Duration;

use anyhow::{Result, bail};

use super::agent::Agent;
use super::netns::Netns;
use super::process::Generator;
use super::{Bench, Row};
use crate::stopwatch::Stopwatch;

const NAMESPACES: usize = 250;
/// 40 listeners in each namespace, and 53 peers of each UDP port: 66,250 peers.
const TCP: &str = "35";
const UDP: &str = "5";
const PEERS: &str = "53";
/// Time until the node is idle: the agent drops the peers' own sockets, which bind and close, after 30 s.
const SETTLE: Duration = Duration::from_secs(45);
const IDLE: Duration = Duration::from_secs(30);

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let namespaces = Netns::make_many("full", NAMESPACES)?;
    let mut pods = namespaces
        .iter()
        .map(|netns| Generator::start(netns, &["pod", "--tcp", TCP, "--udp", UDP, "--peers", PEERS]))
        .collect::<Result<Vec<_>>>()?;
    for pod in &mut pods {
        pod.line()?;
    }
    let names: Vec<_> = namespaces.iter().map(Netns::name).collect();
    let manifest = bench.manifest("memory.yaml", &names)?;
    let agent = Agent::start(&bench.agent, &manifest, &[])?;
    // One after the other: thousands of sockets at once would cause losses, and the recovery would disturb the idle node.
    for pod in &mut pods {
        pod.go()?;
        pod.line()?;
    }
    std::thread::sleep(SETTLE);
    let counted = usage(&agent)?;
    let megabytes = agent.resident_bytes()? as f64 / f64::from(1 << 20);
    let share = agent.share_over(IDLE)? * 100.0;
    Ok(vec![
        Row::new(
            "resident memory of a full node",
            format!("{megabytes:.1} MB ({counted})"),
            "≤ 40 MB",
            megabytes <= 40.0,
            "250 namespaces, 10,000 undeclared listeners, 65,536 peers of UDP ports".to_owned(),
        ),
        Row::new(
            "CPU of the agent on it when idle",
            format!("{share:.2} % of a core"),
            "≤ 1 %",
            share <= 1.0,
            "over 30 s, rotating scans included".to_owned(),
        ),
    ])
}

/// Waits for a response, and returns the numbers of objects that the agent reports.
fn usage(agent: &Agent) -> Result<String> {
    let since = Stopwatch::start();
    loop {
        let answer = agent.ask("/v1/status").unwrap_or_default();
        let number = |name: &str| -> Option<u64> {
            let found = answer.split(&format!("\"{name}\":")).nth(1)?.trim_start();
            found.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        };
        if let (Some(namespaces), Some(listeners)) = (number("namespaces"), number("listeners")) {
            let peers = peers(&answer).map_or_else(|| "unknown".to_owned(), |peers| peers.to_string());
            return Ok(format!("{namespaces} namespaces, {listeners} listeners, {peers} peers"));
        }
        if since.elapsed() > Duration::from_secs(10) {
            bail!("the agent does not say what it holds: {answer}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn peers(status: &str) -> Option<u64> {
    let limits = status.split("\"peers\":").nth(1)?;
    let used = limits.split("\"used\":").nth(1)?.trim_start();
    used.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}
