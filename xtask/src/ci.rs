//! All that must be green before a change lands: formatting, lints with warnings denied, house checks, tests.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::setup::toolchain::Compiler;
use crate::test::tier::Tier;
use crate::{step, test, tidy, workspace};

/// One thing that must be green.
type Check = fn() -> Result<()>;

/// Runs every check, also after one has failed, and names the ones that failed.
///
/// # Errors
/// Where any of them failed.
pub fn run() -> Result<()> {
    let checks: [(&str, Check); 4] = [
        ("formatting", || show(&mut cargo(&["fmt", "--all", "--check"]))),
        ("lints", || {
            let words = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
            show(&mut cargo(&words))
        }),
        ("warnings of the kernel object", kernel_object),
        ("house checks", tidy::run),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        println!("\n── {name}");
        if let Err(error) = check() {
            println!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if let Err(error) = test::run_tiers(Tier::all(), false) {
        println!("tests: {error:#}");
        failed.push("tests");
    }
    if failed.is_empty() { Ok(()) } else { bail!("not green: {}", failed.join(", ")) }
}

/// Compiles the kernel programs with warnings denied: with clippy where that toolchain has it.
fn kernel_object() -> Result<()> {
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

fn show(command: &mut Command) -> Result<()> {
    println!("$ {}", step::line_of(command));
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("it ended with {status}") }
}
