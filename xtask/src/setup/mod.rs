//! Installs what building and testing need, and prints what and why. Safe to repeat; `--check` only reports.

mod dependency_check;
mod packages;
pub mod plugin;
mod services;
pub mod toolchain;
pub mod tools;

use anyhow::{Result, bail};
use clap::Args;

#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only say what is missing; exit code 1 if anything is
    #[arg(long)]
    pub check: bool,
    /// Also what the test tiers need (network tools, daemons, virtual machine)
    #[arg(long)]
    pub tests: bool,
    /// Also what `cargo xtask package` needs; --tests includes it
    #[arg(long)]
    pub packages: bool,
}

/// One requirement of building or testing.
pub struct Need {
    /// Name of the tool or package.
    pub name: &'static str,
    /// Purpose.
    pub why: &'static str,
    /// What is wrong. `None`: the requirement is met.
    pub missing: Option<String>,
    /// Command that installs it.
    pub remedy: String,
}

/// Installs everything that is missing, and prints a report.
///
/// # Errors
/// If something is missing that cannot be installed, or that `--check` does not install.
pub fn run(options: Options) -> Result<()> {
    if options.check {
        return report(options);
    }
    packages::install(options)?;
    toolchain::install()?;
    if options.tests {
        if let Err(error) = dependency_check::install() {
            // The report below names it.
            eprintln!("{error:#}");
        }
        if let Err(error) = tools::install() {
            // Without these tools, the tests that need them print that they are skipped.
            eprintln!("tools for tests: {error:#}");
        }
    }
    report(options)
}

/// Returns true if the kernel object can be built.
pub fn is_complete() -> bool {
    needs(Options::default()).iter().all(|need| need.missing.is_none())
}

fn needs(options: Options) -> Vec<Need> {
    let mut needs = packages::needs(options);
    needs.extend(toolchain::needs());
    if options.tests {
        needs.extend(dependency_check::needs());
        needs.extend(tools::needs());
    }
    needs
}

fn report(options: Options) -> Result<()> {
    let needs = needs(options);
    let mut missing = 0;
    for need in &needs {
        match &need.missing {
            None => println!("  ✓ {}: {}", need.name, need.why),
            Some(reason) => {
                missing += 1;
                println!("  ✗ {}: {}\n      {reason}\n      to get it: {}", need.name, need.why, need.remedy);
            }
        }
    }
    if missing > 0 {
        bail!("{missing} of {} things that the work needs are missing (see above)", needs.len());
    }
    println!("everything is there: {}", toolchain::describe());
    Ok(())
}
