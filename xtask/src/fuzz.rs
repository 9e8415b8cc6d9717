//! Fuzzes every parser of untrusted input, each for a limited time. Needs no nightly compiler: every compiler has the LLVM pass
//! for the coverage that libFuzzer follows.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::Args;

use crate::{step, workspace};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Names of the targets in `node-agent/fuzz`.
const TARGETS: [&str; 9] =
    ["packet", "record", "cgroup", "annotations", "sandbox", "manifest", "configuration", "client", "state"];
/// The compiler flags of cargo-fuzz, without a sanitizer: the targets look for panics and broken invariants.
const FLAGS: &str = "target.x86_64-unknown-linux-gnu.rustflags=['-Cpasses=sancov-module', \
    '-Cllvm-args=-sanitizer-coverage-level=4', '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters', \
    '-Cllvm-args=-sanitizer-coverage-pc-table', '-Cllvm-args=-sanitizer-coverage-trace-compares', \
    '-Cdebug-assertions', '-Coverflow-checks', '-Ccodegen-units=1']";

#[derive(Args, Debug)]
pub struct Options {
    /// How long each parser is fed
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Only this one (repeatable)
    #[arg(long = "target", value_name = "NAME", value_parser = TARGETS)]
    targets: Vec<String>,
}

/// Fuzzes the targets one after the other. The corpus stays below target/fuzz and is tried first the next time.
///
/// # Errors
/// If the build fails or a parser has a fault. The message names the directory of the failing inputs.
pub fn run(options: &Options) -> Result<()> {
    let directory = workspace::target().join("fuzz");
    let program = build(&directory)?;
    let asked = |name: &&str| options.targets.is_empty() || options.targets.iter().any(|t| t == name);
    let mut failed = Vec::new();
    for name in TARGETS.into_iter().filter(asked) {
        let corpus = directory.join("corpus").join(name);
        std::fs::create_dir_all(&corpus)?;
        println!("\n── {name}");
        let status = Command::new(&program)
            .arg(&corpus)
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/{name}-", directory.display()))
            .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"])
            .env("PORTOLAN_FUZZ", name)
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("faults in {}; the bytes are in {}", failed.join(", "), directory.display())
}

fn build(directory: &Path) -> Result<std::path::PathBuf> {
    let mut command = workspace::cargo();
    command
        .args([
            "build",
            "--locked",
            "--release",
            "--target",
            TRIPLE,
            "--package",
            "portolan-fuzz",
            "--config",
        ])
        .args([FLAGS, "--config", "profile.release.lto=false", "--target-dir"])
        .arg(directory.join("build"))
        .current_dir(workspace::root());
    step::build("building the parsers with coverage", &mut command)?;
    Ok(directory.join("build").join(TRIPLE).join("release/fuzz"))
}
