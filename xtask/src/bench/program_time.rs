//! The time that the kernel spends in the agent's programs, by the kernel's own statistics.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::step;

/// Makes the kernel measure every run of a program (5.1). That costs some time of its own in each run.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Prefix of the names of the agent's programs.
const PREFIX: &str = "portolan_";

/// The kernel's statistics, on while this lives. A bench that is interrupted leaves them on: `sysctl kernel.bpf_stats_enabled=0`.
pub struct Statistics {
    before: String,
}

/// One loaded program, as bpftool shows it.
#[derive(serde::Deserialize)]
struct Loaded {
    #[serde(default)]
    name: String,
    #[serde(default)]
    run_time_ns: u64,
    #[serde(default)]
    run_cnt: u64,
}

/// Run time and number of runs of the agent's programs.
#[derive(Clone, Copy)]
pub struct Spent {
    pub time: Duration,
    pub runs: u64,
}

impl Spent {
    /// Returns what was spent since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { time: self.time.saturating_sub(before.time), runs: self.runs.saturating_sub(before.runs) }
    }
}

impl Statistics {
    /// # Errors
    /// If bpftool is missing or the kernel keeps no statistics.
    pub fn start() -> Result<Self> {
        if !step::in_path("bpftool") {
            bail!("this needs bpftool (`cargo xtask setup --tests` installs it)");
        }
        let before = std::fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        std::fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }

    /// Returns what the agent's programs spent since they were loaded.
    ///
    /// # Errors
    /// If bpftool fails.
    pub fn spent(&self) -> Result<Spent> {
        let text = step::output(Command::new("bpftool").args(["-j", "prog", "show"]));
        let all: Vec<Loaded> = serde_json::from_str(&text.context("bpftool shows no programs")?)?;
        let own = all.iter().filter(|one| one.name.starts_with(PREFIX));
        let (time, runs) = own.fold((0, 0), |(time, runs), one| (time + one.run_time_ns, runs + one.run_cnt));
        Ok(Spent { time: Duration::from_nanos(time), runs })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let before = if self.before.trim() == "1" { "1" } else { "0" };
        // If this fails, the statistics stay on, which harms nothing but costs time.
        let _ = std::fs::write(SWITCH, before);
    }
}
