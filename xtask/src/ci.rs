//! Runs everything that must be green before a change lands: formatting, lints, house checks, dependencies, tests.

use std::process::Command;

use anyhow::{Result, bail};

use crate::check::{Outcome, show};
use crate::setup::toolchain::Compiler;
use crate::test::tier::Tier;
use crate::{deny, step, test, tidy, workspace};

/// One check.
type Check = fn() -> Result<Outcome>;

const CHECKS: [(&str, Check); 6] = [
    ("formatting", || show(&mut cargo(&["fmt", "--all", "--check"]))),
    ("lints", || {
        let words = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
        show(&mut cargo(&words))
    }),
    ("warnings of the kernel object", kernel_object),
    ("house checks", || tidy::run().map(|()| Outcome::Green)),
    ("dependencies: duplicates, licences, sources", deny::rules),
    ("dependencies: advisories", deny::advisories),
];

/// Runs every check, even after one has failed. Names the checks that did not run and those that failed.
///
/// # Errors
/// If any check failed.
pub fn run() -> Result<()> {
    let (mut failed, mut not_run) = (Vec::new(), Vec::new());
    for (name, check) in CHECKS {
        println!("\n── {name}");
        match check() {
            Ok(Outcome::Green) => {}
            Ok(Outcome::NotRun(reason)) => {
                println!("NOT CHECKED: {reason}");
                not_run.push(format!("{name}: NOT CHECKED: {reason}"));
            }
            Err(error) => {
                println!("{name}: {error:#}");
                failed.push(name);
            }
        }
    }
    let tests = test::run_tiers(Tier::all(), false);
    for line in not_run {
        println!("{line}");
    }
    if let Err(error) = tests {
        println!("tests: {error:#}");
        failed.push("tests");
    }
    if failed.is_empty() { Ok(()) } else { bail!("not green: {}", failed.join(", ")) }
}

/// Compiles the kernel programs with warnings denied, with clippy if the toolchain has it.
fn kernel_object() -> Result<Outcome> {
    let Some(compiler) = Compiler::find() else { bail!("no kernel compiler: run `cargo xtask setup`") };
    let clippy = step::output(compiler.cargo().args(["clippy", "--version"])).is_some();
    let mut command = compiler.cargo();
    if clippy {
        command.arg("clippy");
    } else {
        command.arg("check");
    }
    command
        .args(["--package", "portolan-ebpf", "--bins", "--target", "bpfel-unknown-none"])
        .args(["-Z", "build-std=core", "--release", "--target-dir"])
        .arg(workspace::target().join("kernel-check"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-D warnings")
        .current_dir(workspace::root());
    if compiler == Compiler::System {
        command.env("RUSTC", "/usr/bin/rustc");
    }
    show(&mut command)
}

fn cargo(words: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(words);
    command
}
