//! Connections and bytes between two namespaces, measured in turns with and without the agent.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::agent::Agent;
use super::median::median;
use super::netns::Netns;
use super::process::Generator;
use super::{Bench, Row};

const PAIRS: usize = 7;
const MILLISECONDS: &str = "1500";
/// Port that no manifest of the benches declares: every connection is recorded and printed.
const UNDECLARED: Served =
    Served { port: "5000", to: "10.99.0.1:5000", what: "undeclared port, each recorded" };
/// The only port that the benches' manifests declare: connections are only counted.
const DECLARED: Served = Served { port: "1", to: "10.99.0.1:1", what: "declared port, only counted" };
const SINK: &str = "5001";

/// A port with a server that accepts connections.
#[derive(Clone, Copy)]
struct Served {
    port: &'static str,
    to: &'static str,
    what: &'static str,
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (server, client) = (Netns::make("server")?, Netns::make("client")?);
    server.join(&client)?;
    let manifest = bench.manifest("traffic.yaml", &[server.name(), client.name()])?;
    let mut servers = [
        Generator::start(&server, &["accept", DECLARED.port])?,
        Generator::start(&server, &["accept", UNDECLARED.port])?,
        Generator::start(&server, &["sink", SINK])?,
    ];
    for server in &mut servers {
        server.line()?;
    }
    let send = ["send", "10.99.0.1:5001", "--milliseconds", MILLISECONDS];
    let declared = connections(bench, &manifest, &client, DECLARED)?;
    let undeclared = connections(bench, &manifest, &client, UNDECLARED)?;
    let bytes = compare(bench, &manifest, &client, &send)?;
    Ok(vec![
        declared,
        undeclared,
        Row::new(
            "bulk throughput with the agent",
            format!("{:.3} of {:.1} Gbit/s without it", bytes.ratio, bytes.without * 8e-9),
            "≥ 0.98",
            bytes.ratio >= 0.98,
            format!("one TCP stream over veth; median of {PAIRS} pairs of 1.5 s"),
        ),
        paced(bench, &manifest, &client, DECLARED)?,
        paced(bench, &manifest, &client, UNDECLARED)?,
    ])
}

/// Returns the rate of short connections, without a limit.
fn connections(bench: &Bench, manifest: &Path, client: &Netns, served: Served) -> Result<Row> {
    let connect = ["connect", served.to, "--milliseconds", MILLISECONDS];
    let compared = compare(bench, manifest, client, &connect)?;
    Ok(Row::new(
        &format!("connect–accept–close with the agent, {}", served.what),
        format!("{:.3} of {:.0}/s without it", compared.ratio, compared.without),
        "≥ 0.97",
        compared.ratio >= 0.97,
        format!("veth; median of {PAIRS} pairs of 1.5 s"),
    ))
}

struct Compared {
    /// Returns the median of the ratios within the pairs.
    ratio: f64,
    without: f64,
}

fn compare(bench: &Bench, manifest: &Path, client: &Netns, words: &[&str]) -> Result<Compared> {
    let (mut ratios, mut without) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let with_agent = || -> Result<f64> {
            let _agent = Agent::start(&bench.agent, manifest, &["--grace", "100ms"])?;
            // Waits until the finding is open, so that connections are recorded.
            std::thread::sleep(Duration::from_millis(500));
            Generator::start(client, words)?.number()
        };
        let alone = || Generator::start(client, words)?.number();
        // The order alternates, so that neither side always comes last.
        let (with, alone) = if pair % 2 == 0 {
            let with = with_agent()?;
            (with, alone()?)
        } else {
            let alone = alone()?;
            (with_agent()?, alone)
        };
        ratios.push(with / alone);
        without.push(alone);
    }
    Ok(Compared { ratio: median(&ratios), without: median(&without) })
}

/// Returns the agent's CPU time at a steady 5,000 connections per second.
fn paced(bench: &Bench, manifest: &Path, client: &Netns, served: Served) -> Result<Row> {
    let agent = Agent::start(&bench.agent, manifest, &["--grace", "100ms"])?;
    std::thread::sleep(Duration::from_secs(1));
    let words = ["connect", served.to, "--milliseconds", "10000", "--rate", "5000"];
    let load = Generator::start(client, &words)?;
    std::thread::sleep(Duration::from_secs(1));
    let share = agent.share_over(Duration::from_secs(8))? * 100.0;
    let rate = load.number()?;
    Ok(Row::new(
        &format!("CPU of the agent at 5,000 connections/s, {}", served.what),
        format!("{share:.1} % of a core at {rate:.0}/s"),
        "≤ 10 %",
        share <= 10.0 && rate > 4900.0,
        "user and kernel time of its threads, over 8 s".to_owned(),
    ))
}
