//! `portolan scan` over many namespaces, compared in turns with a loop of `ip netns exec … ss`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::median::median;
use super::pods::Pods;
use super::{Bench, Row};
use crate::stopwatch::Stopwatch;

const RUNS: usize = 7;

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    Ok(vec![beside_ss(bench)?, full_node(bench)?])
}

/// Compares the scan with a loop of `ss`.
fn beside_ss(bench: &Bench) -> Result<Row> {
    let pods = Scanned::start(bench, 100, 20)?;
    let (mut scans, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        scans.push(pods.scan(bench)?);
        loops.push(pods.ss()?);
    }
    let (ours, theirs) = (median(&scans), median(&loops));
    Ok(Row::new(
        "`scan` over 100 namespaces × 20 listeners",
        format!("{:.0}× faster ({:.1} ms against {:.0} ms)", theirs / ours, ours * 1e3, theirs * 1e3),
        "≥ 60×",
        theirs / ours >= 60.0,
        format!("against a loop of `ip netns exec NAME ss -tulpnH`; medians of {RUNS} runs in turns"),
    ))
}

/// Measures a scan of as many pods as a node may have.
fn full_node(bench: &Bench) -> Result<Row> {
    let pods = Scanned::start(bench, 250, 40)?;
    let scans = (0..RUNS).map(|_| pods.scan(bench)).collect::<Result<Vec<_>>>()?;
    let took = median(&scans) * 1e3;
    Ok(Row::new(
        "`scan` over 250 namespaces × 40 listeners",
        format!("{took:.0} ms"),
        "< 150 ms",
        took < 150.0,
        format!("a finding for each of 10,000 listeners, as JSON; median of {RUNS} runs"),
    ))
}

/// Pods that listen, and their manifest.
struct Scanned {
    pods: Pods,
    listeners: usize,
    manifest: PathBuf,
}

impl Scanned {
    fn start(bench: &Bench, count: usize, listeners: usize) -> Result<Self> {
        let pods = Pods::start("scan", count, &["--tcp", &listeners.to_string()])?;
        let manifest = bench.manifest("scan.yaml", &pods.names())?;
        Ok(Self { pods, listeners, manifest })
    }

    /// Returns the seconds that a scan takes.
    fn scan(&self, bench: &Bench) -> Result<f64> {
        let since = Stopwatch::start();
        let output = Command::new(&bench.agent)
            .args(["scan", "-o", "json", "--metadata"])
            .arg(format!("file={}", self.manifest.display()))
            .stdin(Stdio::null())
            .output()
            .context("cannot start portolan")?;
        let took = since.elapsed().as_secs_f64();
        let seen = String::from_utf8_lossy(&output.stdout).matches("\"port\"").count();
        let all = self.pods.namespaces().len() * self.listeners;
        ensure!(
            seen >= all,
            "scan showed {seen} ports of {all}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(took)
    }

    /// Returns the seconds that a loop of `ss` takes.
    fn ss(&self) -> Result<f64> {
        let since = Stopwatch::start();
        for netns in self.pods.namespaces() {
            let output = netns.command("ss").arg("-tulpnH").stdin(Stdio::null()).output()?;
            let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            ensure!(lines >= self.listeners, "ss showed {lines} sockets in {}", netns.name());
        }
        Ok(since.elapsed().as_secs_f64())
    }
}
