//! Runs the test tiers that this machine can run, collects all failures, and prints what was skipped and why.

mod e2e;
pub mod leftovers;
mod page;
mod run;
pub mod tally;
mod tests;
pub mod tier;
mod times;

use anyhow::{Result, bail};
use clap::Args;

use crate::stopwatch::Stopwatch;
use leftovers::Leftovers;
use tally::Tally;
use tier::Tier;

#[derive(Args, Debug, Default)]
pub struct Options {
    /// Only this tier (repeatable); by default all that this machine can run
    #[arg(long = "tier", value_name = "NAME", value_enum)]
    pub tiers: Vec<Tier>,
}

/// Outcome of one tier.
enum Outcome {
    Ran { tally: Tally, fine: bool },
    Skipped { why: String },
}

/// Runs the tiers that the user named, which then must be able to run, or all tiers that can run.
///
/// # Errors
/// If a test failed, a tier that was asked for cannot run, or something was left behind.
pub fn run(options: &Options) -> Result<()> {
    if options.tiers.is_empty() {
        run_tiers(Tier::all(), false)
    } else {
        run_tiers(options.tiers.clone(), true)
    }
}

/// Runs the tiers one after the other, then checks for leftovers.
///
/// # Errors
/// If a test failed, a tier cannot run though all are `required`, or something was left behind.
pub fn run_tiers(tiers: Vec<Tier>, required: bool) -> Result<()> {
    let before = Leftovers::look();
    let mut rows = Vec::new();
    for tier in tiers {
        let since = Stopwatch::start();
        rows.push((tier, run_tier(tier), since.elapsed()));
    }
    let left = Leftovers::settle(&before);
    summary(&rows);
    println!("\n{}", slowest(&rows));
    for thing in &left {
        println!("left behind: {thing}");
    }
    verdict(&rows, &left, required)
}

fn run_tier(tier: Tier) -> Outcome {
    if let Some(why) = tier.obstacle() {
        return Outcome::Skipped { why };
    }
    println!("\n── tier {}: {}", tier.name(), tier.proves());
    let mut whole = Tally::default();
    let mut fine = true;
    match tier.run() {
        Ok(tally) => whole = tally,
        Err(error) => {
            println!("tier {}: {error:#}", tier.name());
            fine = false;
        }
    }
    // A tier without passed tests proves nothing.
    Outcome::Ran { fine: fine && whole.passed > 0 && whole.failed == 0 && whole.fine, tally: whole }
}

fn summary(rows: &[(Tier, Outcome, std::time::Duration)]) {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_width(120);
    table.set_header(["tier", "", "passed", "failed", "skipped", "time", ""]);
    for (tier, outcome, time) in rows {
        let name = tier.name().to_owned();
        let row = match outcome {
            Outcome::Ran { tally, fine } => [
                name,
                if *fine { "passed" } else { "FAILED" }.to_owned(),
                tally.passed.to_string(),
                tally.failed.to_string(),
                tally.skipped.to_string(),
                format!("{} s", time.as_secs()),
                tally.failures.join("\n"),
            ],
            Outcome::Skipped { why } => [
                name,
                "skipped".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                why.clone(),
            ],
        };
        table.add_row(row);
    }
    println!("\n{table}");
}

fn slowest(rows: &[(Tier, Outcome, std::time::Duration)]) -> String {
    let ran = rows.iter().filter_map(|(tier, outcome, _)| match outcome {
        Outcome::Ran { tally, .. } => {
            Some(times::Tier { name: tier.name(), ran: tally.passed + tally.failed, times: &tally.times })
        }
        Outcome::Skipped { .. } => None,
    });
    times::slowest(&ran.collect::<Vec<_>>())
}

fn verdict(rows: &[(Tier, Outcome, std::time::Duration)], left: &[String], required: bool) -> Result<()> {
    let mut total = Tally::default();
    let mut broken = Vec::new();
    for (tier, outcome, _) in rows {
        match outcome {
            Outcome::Ran { tally, fine } => {
                total.add(tally);
                if !fine {
                    broken.push(format!("tier {} failed", tier.name()));
                }
            }
            Outcome::Skipped { why } if required => {
                broken.push(format!("tier {} cannot run: {why}", tier.name()))
            }
            Outcome::Skipped { .. } => {}
        }
    }
    if !left.is_empty() {
        broken.push(format!("{} things were left behind", left.len()));
    }
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("; ")) }
}
