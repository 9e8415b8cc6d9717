//! Runs a busy small cluster against one agent for hours, and fails if memory, descriptors, threads, kernel objects or counts
//! drift. Each cycle ends with a quiet moment, at which everything must be exactly as it was and as the soak knows it.

mod account;
mod cluster;
mod drift;
mod readers;
mod report;
mod sample;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::bench::agent::Agent;
use crate::bench::{netns, table};
use crate::stopwatch::Stopwatch;
use crate::test::leftovers::Leftovers;
use crate::{setup, step, workspace};
use account::{Account, json, of_gone_namespaces};
use cluster::{Cluster, POD_RANGE, PREFIX};
use drift::Sample;
use readers::Readers;
use report::{Report, duration};
use sample::namespaces;
use workload::Workload;

/// Seconds of load in each cycle.
const BUSY: u32 = 20;
/// Seconds between two samples of a busy moment.
const SAMPLED: u32 = 5;
/// Maximum time until everything is right at a quiet moment. Idle threads end after 10 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time that everything must have been right before the first quiet moment, with which all others are compared.
const FIRST_REST: Duration = Duration::from_secs(15);
/// Maximum time until other programs have the same namespaces and listeners as at first, so that everything can be compared.
const OTHERS_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(500);
/// Losses that the load provokes: bursts are above the budget of records, and callers above that of peers.
const PROVOKED: [&str; 5] = [
    "connection-lines-limited",
    "connection-records-limited",
    "connection-ring-full",
    "conntrack-limited",
    "peers-map-full",
];
/// A small table of peers, whose entries are replaced several times in each cycle.
const OPTIONS: [&str; 8] =
    ["--pod-cidr", POD_RANGE, "--grace", "300ms", "--max-peers", "1024", "--output", "ndjson"];

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Hours of load
    #[arg(long, value_name = "N", required_unless_present = "minutes", value_parser = length)]
    hours: Option<f64>,
    /// Minutes of load instead
    #[arg(long, value_name = "N", conflicts_with = "hours", value_parser = length)]
    minutes: Option<f64>,
    /// Run this agent instead of a release build
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Write the summary to docs/performance.md
    #[arg(long)]
    write: bool,
}

impl Options {
    fn length(&self) -> Duration {
        let hours = self.hours.map(|hours| hours * 3600.0);
        Duration::from_secs_f64(hours.or(self.minutes.map(|minutes| minutes * 60.0)).unwrap_or_default())
    }
}

/// Parses a length of at most some years.
fn length(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e6 => Ok(number),
        _ => Err("give a number above 0".to_owned()),
    }
}

/// Runs the soak and prints what it found.
///
/// # Errors
/// If this machine does not allow it, something drifted or was counted wrongly, or something was left behind.
pub fn run(options: &Options) -> Result<()> {
    refuse()?;
    let directory = workspace::target().join("soak");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let lock = std::fs::File::create(directory.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another soak is running");
    }
    netns::remove_leftovers(PREFIX);
    let binary = match &options.agent {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let before = Leftovers::look();
    let mut report = Soak::begin(&binary, &directory, stop)?.run(options.length())?;
    let left = Leftovers::settle(&before).into_iter().filter(|thing| is_of_soak(thing));
    report.wrong.extend(left.map(|thing| format!("left behind: {thing}")));
    println!("\n{}", report.show());
    if options.write {
        report.write(&table::machine())?;
        println!("\nwritten to docs/performance.md");
    }
    if report.faults().is_empty() {
        Ok(())
    } else {
        bail!("the soak failed; the agent's log is in {}", directory.display())
    }
}

/// Returns true if the soak or its agent left this behind. Kernel links have no name that tells whose they are, and other
/// programs make some. A link of the agent keeps its program, which is listed by name.
fn is_of_soak(thing: &str) -> bool {
    thing.contains(PREFIX) || thing.starts_with("kernel prog ")
}

fn refuse() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the soak makes network namespaces and loads kernel programs: run it as root");
    }
    for (program, package) in [("ip", "iproute2"), ("setpriv", "util-linux"), ("setsid", "util-linux")] {
        if !step::in_path(program) {
            bail!("the soak needs {program} (package {package})");
        }
    }
    // On some distributions the file is there, and only says that it does not fit the kernel.
    if sample::programs().is_none() {
        bail!("the soak needs a bpftool that lists programs (package bpftool), to compare kernel objects");
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    if !setup::is_complete() {
        setup::run(setup::Options::default())?;
    }
    let mut command = workspace::cargo();
    command.args(["build", "--locked", "--package", "portolan", "--bin", "portolan", "--release"]);
    step::build("building the agent", &mut command)?;
    Ok(workspace::agent("release"))
}

/// A running soak. The agent ends before the cluster is removed.
struct Soak {
    agent: Agent,
    workload: Workload,
    since: Stopwatch,
    stop: Arc<AtomicBool>,
    quiet: Vec<Sample>,
    busy: Vec<Sample>,
    /// Hooks and sources with their states at the first quiet moment.
    states: Vec<String>,
}

impl Soak {
    fn begin(binary: &Path, directory: &Path, stop: Arc<AtomicBool>) -> Result<Self> {
        let (manifest, config) = (directory.join("pods.yaml"), directory.join("portolan.yaml"));
        let workload = Workload::new(Cluster::make(&manifest)?, config.clone())?;
        let config = config.to_string_lossy();
        let options: Vec<&str> = OPTIONS.into_iter().chain(["--config", &config]).collect();
        let agent = Agent::start_as_service(binary, &manifest, &options)?;
        wait_attached(&agent)?;
        let (since, quiet, busy, states) = (Stopwatch::start(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { agent, workload, since, stop, quiet, busy, states })
    }

    /// Runs cycles until the time is over, somebody stops it, or something is wrong.
    fn run(mut self, length: Duration) -> Result<Report> {
        let mut wrong = Vec::new();
        while self.since.elapsed() < length && wrong.is_empty() && !self.is_stopped() {
            match self.cycle() {
                Ok(faults) => wrong = faults,
                // Ctrl-C on a terminal also ends the programs that the soak uses.
                Err(_) if self.is_stopped() => {}
                Err(error) => wrong.push(self.agent.ended().unwrap_or_else(|| format!("{error:#}"))),
            }
        }
        if self.is_stopped() {
            eprintln!("  stopped");
        }
        let (lasted, cpu) = (self.since.elapsed(), self.agent.cpu().unwrap_or_default());
        Ok(Report { quiet: self.quiet, busy: self.busy, totals: self.workload.totals, lasted, cpu, wrong })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs one cycle: load, then a quiet moment. Returns what is wrong then.
    fn cycle(&mut self) -> Result<Vec<String>> {
        let readers = Readers::start(&self.agent);
        let load = self.load();
        let (answers, streams) = readers.end()?;
        load?;
        self.workload.totals.requests += answers.came;
        self.workload.totals.unanswered += answers.late;
        self.workload.totals.streams += streams;
        self.workload.rest()?;
        let faults = self.settle()?;
        if faults.is_empty() && !self.is_stopped() {
            self.workload.totals.cycles += 1;
            self.tell();
        }
        Ok(faults)
    }

    fn load(&mut self) -> Result<()> {
        let begun = Stopwatch::start();
        for second in 0..BUSY {
            if self.is_stopped() {
                break;
            }
            self.workload.second(second, &self.agent)?;
            if second % SAMPLED == 0 {
                self.busy.push(sample::quick(self.agent.pid(), self.since.elapsed())?);
            }
            let next = Duration::from_secs(u64::from(second) + 1);
            std::thread::sleep(next.saturating_sub(begun.elapsed()));
        }
        Ok(())
    }

    /// Waits until everything is right, and keeps a sample. Returns what stays wrong.
    fn settle(&mut self) -> Result<Vec<String>> {
        let since = Stopwatch::start();
        let mut right: Option<Stopwatch> = None;
        loop {
            let (faults, sample) = match self.look() {
                Ok(looked) => looked,
                Err(error) => match self.agent.ended() {
                    Some(ended) => return Ok(vec![ended]),
                    None if since.elapsed() > PATIENCE => return Err(error),
                    None => (vec![format!("{error:#}")], Sample::default()),
                },
            };
            if self.is_stopped() {
                return Ok(Vec::new());
            }
            let is_comparable = self.quiet.first().is_none_or(|first| first.is_comparable(&sample));
            if faults.is_empty() && !is_comparable && since.elapsed() < OTHERS_PATIENCE {
                right = None;
            } else if faults.is_empty() {
                let rested = right.get_or_insert_with(Stopwatch::start).elapsed();
                if !self.quiet.is_empty() || rested >= FIRST_REST {
                    self.quiet.push(sample);
                    return Ok(Vec::new());
                }
            } else if since.elapsed() > PATIENCE {
                // The table shows what changed.
                self.quiet.extend(Some(sample).filter(|sample| !sample.numbers.is_empty()));
                return Ok(faults);
            } else {
                right = None;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Compares the agent with what exists and with the first quiet moment.
    fn look(&mut self) -> Result<(Vec<String>, Sample)> {
        let status = json(&self.agent, "/v1/status")?;
        let real = self.workload.account();
        let said = Account::of_agent(&self.agent, &status, &real.calls)?;
        let mut faults = real.differences(&said);
        let sample = sample::full(self.agent.pid(), self.since.elapsed(), &status, said.listed)?;
        if let Some(first) = self.quiet.first() {
            faults.extend(drift::changed(first, &sample));
        }
        faults.extend(losses(&status));
        let states = states(&status);
        if self.quiet.is_empty() {
            self.states = states;
        } else if states != self.states {
            faults.push(format!(
                "hooks and sources: {}, at first {}",
                states.join(", "),
                self.states.join(", ")
            ));
        }
        if faults.is_empty() {
            faults.extend(of_gone_namespaces(&self.agent, &namespaces(|_| true))?);
        }
        Ok((faults, sample))
    }

    /// Prints one line about the cycle.
    fn tell(&self) {
        let number = |name: &str| {
            self.quiet.last().and_then(|sample| sample.numbers.get(name)).copied().unwrap_or_default()
        };
        println!(
            "  {}  cycle {}: {:.1} MB, {} descriptors, {} threads; {} connections and {} datagrams so far",
            duration(self.since.elapsed()),
            self.workload.totals.cycles,
            number("resident memory") as f64 / f64::from(1 << 20),
            number("descriptors"),
            number("threads"),
            self.workload.totals.connections,
            self.workload.totals.datagrams,
        );
    }
}

/// Waits until every interface has its program, which happens one by one after the agent is ready. Packets count from then on.
fn wait_attached(agent: &Agent) -> Result<()> {
    let since = Stopwatch::start();
    loop {
        let states = states(&json(agent, "/v1/status")?);
        if !states.iter().any(|state| state.ends_with(" attaching")) {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            bail!("the programs are not attached within {} s: {}", PATIENCE.as_secs(), states.join(", "));
        }
        std::thread::sleep(POLL);
    }
}

/// Returns the losses that the load does not provoke.
fn losses(status: &Value) -> Vec<String> {
    let lost = status.get("lost").and_then(Value::as_object).into_iter().flatten();
    let counted = lost.filter(|(_, count)| count.as_u64() != Some(0));
    let unexpected = counted.filter(|(reason, _)| !PROVOKED.contains(&reason.as_str()));
    unexpected.map(|(reason, count)| format!("lost {reason}: {count}")).collect()
}

/// Returns each hook and source with its state.
fn states(status: &Value) -> Vec<String> {
    let rows = |name: &str| status.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |row: &Value, field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = rows("hooks").into_iter().chain(rows("sources"));
    all.map(|row| format!("{} {}", text(&row, "name"), text(&row, "state"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_provoked_losses_are_let_pass() {
        let status =
            serde_json::json!({"lost": {"peers-map-full": 7, "netns-unreadable": 2, "drain-failed": 0}});
        assert_eq!(losses(&status), ["lost netns-unreadable: 2"]);
    }

    #[test]
    fn kernel_links_of_other_programs_are_not_the_soaks() {
        assert!(is_of_soak("network namespace ptl-soak-pod-1"));
        assert!(is_of_soak("kernel prog 12 portolan_tc_in"));
        assert!(!is_of_soak("kernel link 12 cgroup"));
        assert!(!is_of_soak("interface ptl-bench0"));
    }

    #[test]
    fn a_length_is_a_number_above_zero() {
        assert_eq!(length("0.1"), Ok(0.1));
        for wrong in ["0", "-1", "nan", "inf", "long"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
