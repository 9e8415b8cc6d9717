//! `portolan scan` over many namespaces, compared in turns with a loop of `ip netns exec … ss`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::median::median;
use super::netns::Netns;
use super::process::Generator;
use super::{Bench, Row};
use crate::stopwatch::Stopwatch;

const NAMESPACES: usize = 100;
const LISTENERS: usize = 20;
const RUNS: usize = 7;

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let namespaces = Netns::make_many("scan", NAMESPACES)?;
    let mut pods = namespaces
        .iter()
        .map(|netns| Generator::start(netns, &["pod", "--tcp", &LISTENERS.to_string()]))
        .collect::<Result<Vec<_>>>()?;
    for pod in &mut pods {
        pod.line()?;
    }
    let names: Vec<_> = namespaces.iter().map(Netns::name).collect();
    let manifest = bench.manifest("scan.yaml", &names)?;
    let (mut scans, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        scans.push(scan(bench, &manifest)?);
        loops.push(ss(&namespaces)?);
    }
    let (ours, theirs) = (median(&scans), median(&loops));
    Ok(vec![Row::new(
        "`scan` over 100 namespaces × 20 listeners",
        format!("{:.0}× faster ({:.1} ms against {:.0} ms)", theirs / ours, ours * 1e3, theirs * 1e3),
        "≥ 30×",
        theirs / ours >= 30.0,
        format!("against a loop of `ip netns exec NAME ss -tulpnH`; medians of {RUNS} runs in turns"),
    )])
}

fn scan(bench: &Bench, manifest: &std::path::Path) -> Result<f64> {
    let since = Stopwatch::start();
    let output = Command::new(&bench.agent)
        .args(["scan", "-o", "json", "--metadata"])
        .arg(format!("file={}", manifest.display()))
        .stdin(Stdio::null())
        .output()
        .context("cannot start portolan")?;
    let took = since.elapsed().as_secs_f64();
    let seen = String::from_utf8_lossy(&output.stdout).matches("\"port\"").count();
    ensure!(
        seen >= NAMESPACES * LISTENERS,
        "scan showed {seen} ports of {}: {}",
        NAMESPACES * LISTENERS,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(took)
}

fn ss(namespaces: &[Netns]) -> Result<f64> {
    let since = Stopwatch::start();
    for netns in namespaces {
        let output = netns.command("ss").arg("-tulpnH").stdin(Stdio::null()).output()?;
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        ensure!(lines >= LISTENERS, "ss showed {lines} sockets in {}", netns.name());
    }
    Ok(since.elapsed().as_secs_f64())
}
