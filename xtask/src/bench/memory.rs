//! The agent on a full node: resident memory, CPU time when idle, and what a chart of all its ports costs.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::agent::Agent;
use super::median::{median, quantile};
use super::pods::Pods;
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
const STATUS: &str = "/v1/status";
const STATUSES: u32 = 200;
const CHART: &str = "/v1/chart";
const CHARTS: u32 = 10;
/// Goals in milliseconds: a chart of 10,000 ports, and another request meanwhile.
const MOST_CHART: f64 = 500.0;
const MOST_BESIDE: f64 = 20.0;

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut pods = Pods::start("full", NAMESPACES, &["--tcp", TCP, "--udp", UDP, "--peers", PEERS])?;
    let manifest = bench.manifest("memory.yaml", &pods.names())?;
    let agent = Agent::start(&bench.agent, &manifest, &[])?;
    pods.send_datagrams()?;
    std::thread::sleep(SETTLE);
    let (counted, parts) = (usage(&agent)?, agent.resident_parts()?);
    let megabytes = agent.resident_bytes()? as f64 / f64::from(1 << 20);
    let share = agent.share_over(IDLE)? * 100.0;
    let mut rows = vec![
        Row::new(
            "resident memory of a full node",
            format!("{megabytes:.1} MB ({counted}; {parts})"),
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
    ];
    rows.extend(chart(&agent)?);
    Ok(rows)
}

/// Asks for the chart of all ports again and again, and meanwhile for the status, which the engine's thread answers too.
fn chart(agent: &Agent) -> Result<Vec<Row>> {
    let timed = |path: &str| -> Result<f64> {
        let since = Stopwatch::start();
        agent.ask(path)?;
        Ok(since.elapsed().as_secs_f64() * 1e3)
    };
    let idle = (0..STATUSES).map(|_| timed(STATUS)).collect::<Result<Vec<_>>>()?;
    let (resident, cpu) = (agent.resident_bytes()?, agent.cpu()?);
    let (charts, beside) = std::thread::scope(|scope| -> Result<_> {
        let charts = scope.spawn(|| (0..CHARTS).map(|_| timed(CHART)).collect::<Result<Vec<_>>>());
        let mut beside = Vec::new();
        while !charts.is_finished() {
            beside.push(timed(STATUS)?);
        }
        Ok((charts.join().map_err(|_| anyhow::anyhow!("asking for charts failed"))??, beside))
    })?;
    let spent = agent.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e3 / f64::from(CHARTS);
    let grown = agent.resident_bytes()?.saturating_sub(resident) as f64 / f64::from(1 << 20);
    let answer = agent.ask(CHART)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer with a body")?;
    let body: serde_json::Value = serde_json::from_str(body).context("the chart is cut off")?;
    let findings = body.pointer("/totals/findings").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let listed = body.pointer("/rows").and_then(|rows| rows.as_array()).map_or(0, Vec::len);
    Ok(vec![
        Row::new(
            "`/v1/chart` of it",
            format!("{:.0} ms, {spent:.0} ms of CPU, {grown:.1} MB more resident", median(&charts)),
            "≤ 500 ms",
            median(&charts) <= MOST_CHART,
            format!(
                "median of {CHARTS}, {findings} findings, {listed} rows, {:.1} MB; CPU with that of the status beside it",
                answer.len() as f64 / 1e6
            ),
        ),
        Row::new(
            "`/v1/status` while charts are made",
            format!("{:.1} ms, slowest {:.1}", median(&beside), quantile(&beside, 1.0)),
            "≤ 20 ms",
            median(&beside) <= MOST_BESIDE,
            format!(
                "median of {}; without charts {:.1}, slowest {:.1}",
                beside.len(),
                median(&idle),
                quantile(&idle, 1.0)
            ),
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
