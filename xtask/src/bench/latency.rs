//! Time from listen(2) to the finding on stdout, at random times, beyond the grace time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ChildStdout;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::agent::Agent;
use super::median::{median, quantile};
use super::netns::Netns;
use super::{Bench, Row};
use crate::stopwatch::monotonic;

const SOCKETS: u16 = 400;
const FIRST_PORT: u16 = 10_000;
const GRACE: Duration = Duration::from_millis(300);
/// Mean interval between two sockets.
const GAP_US: u64 = 20_000;

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let netns = Netns::make("latency")?;
    let manifest = bench.manifest("latency.yaml", &[netns.name()])?;
    let words = ["--grace", "300ms", "--max-findings-per-pod", "1000", "--kinds", "finding"];
    let (agent, out) = Agent::start_piped(&bench.agent, &manifest, &words)?;
    let opened = Mutex::new(BTreeMap::new());
    let (sender, arrivals) = mpsc::channel();
    std::thread::spawn(move || read(out, &sender));
    let found = std::thread::scope(|scope| {
        let opener = scope.spawn(|| open(netns.name(), &opened));
        let found = collect(&arrivals);
        opener.join().map_err(|_| anyhow::anyhow!("the opening thread panicked"))??;
        found
    })?;
    drop(agent);
    let opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
    let beyond: Vec<f64> = found
        .iter()
        .filter_map(|(port, at)| {
            let since: &Duration = opened.get(port)?;
            Some((at.as_secs_f64() - since.as_secs_f64() - GRACE.as_secs_f64()) * 1e3)
        })
        .collect();
    let worst = quantile(&beyond, 0.99);
    Ok(vec![Row::new(
        "socket opened → finding on stdout, p99",
        format!("{worst:.1} ms beyond the grace time (median {:.1})", median(&beyond)),
        "≤ 20 ms",
        worst <= 20.0,
        format!("{} TCP sockets at random times, 20 ms apart in the mean, grace 300 ms", beyond.len()),
    )])
}

/// Returns the first line of each port, with the time at which it was read.
fn read(out: ChildStdout, sender: &mpsc::Sender<(u16, Duration)>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let at = monotonic();
        let port = line.split("\"port\":").nth(1).map(str::trim_start).unwrap_or_default();
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(port) = digits.parse()
            && sender.send((port, at)).is_err()
        {
            return;
        }
    }
}

fn collect(arrivals: &mpsc::Receiver<(u16, Duration)>) -> Result<BTreeMap<u16, Duration>> {
    let mut found = BTreeMap::new();
    while found.len() < usize::from(SOCKETS) {
        match arrivals.recv_timeout(Duration::from_secs(5)) {
            Ok((port, at)) if (FIRST_PORT..FIRST_PORT + SOCKETS).contains(&port) => {
                found.entry(port).or_insert(at);
            }
            Ok(_) => {}
            Err(_) => bail!("{} findings came for {SOCKETS} sockets", found.len()),
        }
    }
    Ok(found)
}

/// Opens the sockets inside the netns. The calling thread stays in the netns and must end afterwards.
fn open(netns: &str, opened: &Mutex<BTreeMap<u16, Duration>>) -> Result<()> {
    use std::os::fd::AsFd;
    let target = std::fs::File::open(format!("/run/netns/{netns}"))?;
    move_into_link_name_space(target.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter")?;
    let mut state = monotonic().subsec_nanos().into();
    let mut held = Vec::new();
    for port in FIRST_PORT..FIRST_PORT + SOCKETS {
        std::thread::sleep(Duration::from_micros(random(&mut state) % (2 * GAP_US)));
        let at = monotonic();
        held.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
        opened.lock().unwrap_or_else(PoisonError::into_inner).insert(port, at);
    }
    // The sockets stay open until their findings can have arrived.
    std::thread::sleep(GRACE * 3);
    Ok(())
}

/// A linear congruential generator with Knuth's constants.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
