//! Connections and bytes between two namespaces, measured in turns with and without the agent.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::agent::Agent;
use super::netns::Netns;
use super::pairs::{PAIRS, compare};
use super::process::Generator;
use super::program_time::{Spent, Statistics};
use super::{Bench, Row, remote};

const MILLISECONDS: &str = "1500";
/// Port that no manifest of the benches declares: every connection is recorded and printed.
const UNDECLARED: Served =
    Served { port: "5000", to: "10.99.0.1:5000", what: "undeclared port, each recorded" };
/// The only port that the benches' manifests declare: connections are only counted.
const DECLARED: Served = Served { port: "1", to: "10.99.0.1:1", what: "declared port, only counted" };
/// Connections of the client that is not on this node.
const REMOTE_CALLS: u32 = 10_000;
const SINK: &str = "5001";
/// Ends of a connection that are on this node, for [`in_programs`].
const BOTH_LOCAL: &str = "both ends local";
const ONE_LOCAL: &str = "one end local";

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
    let bytes = compare(bench, &manifest, || Generator::start(&client, &send)?.number())?;
    let mut rows = vec![
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
    ];
    // If this fails, only the rows of the remote client fail.
    let joined = remote::join(&server);
    for served in [DECLARED, UNDECLARED] {
        let timed = in_programs(bench, &manifest, &client, served, &joined);
        // The rows above stay.
        rows.extend(timed.unwrap_or_else(|error| {
            [BOTH_LOCAL, ONE_LOCAL].map(|ends| Row::failed(&in_programs_name(ends, served), &error)).into()
        }));
    }
    Ok(rows)
}

/// Returns the rate of short connections, without a limit.
fn connections(bench: &Bench, manifest: &Path, client: &Netns, served: Served) -> Result<Row> {
    let connect = ["connect", served.to, "--milliseconds", MILLISECONDS];
    let compared = compare(bench, manifest, || Generator::start(client, &connect)?.number())?;
    Ok(Row::new(
        &format!("connect–accept–close with the agent, {}", served.what),
        format!("{:.3} of {:.0}/s without it", compared.ratio, compared.without),
        "≥ 0.97",
        compared.ratio >= 0.97,
        format!("veth; median of {PAIRS} pairs of 1.5 s"),
    ))
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

/// Returns the time in the agent's programs for one connection: with both ends on this node, and with the server's end only.
/// `joined`: whether the client that is on no node has its interface.
fn in_programs(
    bench: &Bench,
    manifest: &Path,
    client: &Netns,
    served: Served,
    joined: &Result<()>,
) -> Result<Vec<Row>> {
    let _agent = Agent::start(&bench.agent, manifest, &["--grace", "100ms"])?;
    std::thread::sleep(Duration::from_secs(2));
    let statistics = Statistics::start()?;
    let words = ["connect", served.to, "--milliseconds", "4000", "--rate", "5000"];
    let local = || Ok(Generator::start(client, &words)?.number()? * 4.0);
    let remote = || match joined {
        Ok(()) => Ok(f64::from(remote::call(served.port, REMOTE_CALLS)?)),
        Err(error) => bail!("the remote client has no interface: {error:#}"),
    };
    Ok(vec![
        per_connection(&statistics, &in_programs_name(BOTH_LOCAL, served), local),
        per_connection(&statistics, &in_programs_name(ONE_LOCAL, served), remote),
    ])
}

fn in_programs_name(ends: &str, served: Served) -> String {
    format!("time in the agent's programs per connection, {ends}, {}", served.what)
}

/// Returns the row `what`. `calls` makes connections, and returns their number.
fn per_connection(statistics: &Statistics, what: &str, calls: impl Fn() -> Result<f64>) -> Row {
    let measured = || -> Result<Row> {
        let before = statistics.spent()?;
        let connections = calls()?;
        if connections < 1.0 {
            bail!("no connection was made");
        }
        let Spent { time, runs } = statistics.spent()?.since(before);
        let time = time.as_secs_f64() * 1e9 / connections;
        Ok(Row::new(
            what,
            format!("{time:.0} ns in {:.1} runs", runs as f64 / connections),
            "none",
            true,
            format!("the kernel's statistics, which cost some of it; {connections:.0} connections"),
        ))
    };
    measured().unwrap_or_else(|error| Row::failed(what, &error))
}
