//! The vm tier: boots other kernels in virtual machines, in which `bin/vm-guest` checks what the agent reports.

mod initramfs;
mod kernels;
mod machine;
mod modules;
mod verdict;

use std::path::Path;

use anyhow::{Context, Result};

use crate::test::tally::Tally;
use crate::{image, setup, step, workspace};
use initramfs::Programs;
use kernels::{Kernel, Line};
use verdict::Verdict;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Programs that building and booting the guests needs.
const NEEDED: [&str; 5] = ["qemu-system-x86_64", "cpio", "xz", "ip", "ldd"];

/// Returns what prevents the tier from running and what to do about it. `None`: the tier can run.
pub fn obstacle() -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("needs an x86-64 Linux machine: its guests are".to_owned());
    }
    let missing: Vec<_> = NEEDED.into_iter().filter(|program| !step::in_path(program)).collect();
    if !missing.is_empty() {
        return Some(format!("needs {}: run `cargo xtask setup --tests`", missing.join(", ")));
    }
    if !setup::is_complete() {
        return Some("needs the kernel toolchain: run `cargo xtask setup`".to_owned());
    }
    kernels::obstacle()
}

/// Runs the checks on every kernel. Failed checks are in the tally.
///
/// # Errors
/// If the agent cannot be built or no kernel can be fetched.
pub fn run() -> Result<Tally> {
    let directory = workspace::target().join("vm");
    std::fs::create_dir_all(&directory)?;
    let programs = build()?;
    let mut tally = Tally::default();
    for (line, kernel) in kernels::fetch(&directory)? {
        let outcome = kernel.and_then(|kernel| check(&directory, &programs, line, &kernel, &mut tally));
        if let Err(error) = outcome {
            count(&mut tally, line.name, "boot", &Verdict::Failed(format!("{error:#}")));
        }
    }
    Ok(tally)
}

/// Builds the guest's programs: the agent as the image has it, which other tiers build too, and the checks with the profile of
/// this program, whose crates are there already.
fn build() -> Result<Programs> {
    let agent = image::agent(TARGET)?;
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--package", "xtask", "--bin", "vm-guest", "--profile", "quick"])
        .current_dir(workspace::root());
    step::build("building the guest's checks", &mut command)?;
    Ok(Programs { init: workspace::target().join("quick/vm-guest"), agent })
}

fn check(
    directory: &Path,
    programs: &Programs,
    line: Line,
    kernel: &Kernel,
    tally: &mut Tally,
) -> Result<()> {
    println!("kernel {} ({})", line.name, kernel.release);
    let archive = initramfs::write(directory, line.name, programs, kernel)
        .with_context(|| format!("cannot make the guest of {}", kernel.release))?;
    let log = directory.join(format!("{}.log", line.name));
    let verdicts = machine::boot(kernel, &archive, line, &log)?;
    for (name, verdict) in &verdicts.checks {
        count(tally, line.name, name, verdict);
    }
    if !verdicts.finished {
        let why = format!("the guest ended early ({}); its console: {}", verdicts.last, log.display());
        count(tally, line.name, "end", &Verdict::Failed(why));
    }
    Ok(())
}

fn count(tally: &mut Tally, kernel: &str, name: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Passed => {
            tally.passed += 1;
            println!("  {kernel} {name} ok");
        }
        Verdict::Skipped(why) => {
            tally.skipped += 1;
            println!("  {kernel} {name} skipped: {why}");
        }
        Verdict::Failed(why) => {
            tally.failed += 1;
            tally.failures.push(format!("{kernel} {name}"));
            println!("  {kernel} {name} FAILED: {why}");
        }
    }
}
