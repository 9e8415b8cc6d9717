//! Installs what building and testing need, and says what and why: safe to repeat, and `--check` only looks.

mod dependency_check;
pub mod kubernetes;
mod packages;
pub mod toolchain;

use anyhow::{Result, bail};
use clap::Args;

#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only say what is missing; exit code 1 if anything is
    #[arg(long)]
    pub check: bool,
    /// Also what the test tiers need (network tools, virtual machine)
    #[arg(long)]
    pub tests: bool,
}

/// One thing that must be there.
pub struct Need {
    /// Its name, for people.
    pub name: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// What is wrong with it; `None`: it is there.
    pub missing: Option<String>,
    /// What a person types to get it.
    pub remedy: String,
}

/// Makes sure that everything needed is there.
///
/// # Errors
/// Where something is missing and cannot be installed, or `--check` was given.
pub fn run(options: Options) -> Result<()> {
    if options.check {
        return report(options);
    }
    packages::install(options.tests)?;
    toolchain::install()?;
    if options.tests {
        if let Err(error) = dependency_check::install() {
            // The report below names it.
            eprintln!("{error:#}");
        }
        if let Err(error) = kubernetes::install() {
            // Tests that need these tools are skipped, and say so.
            eprintln!("tools of Kubernetes: {error:#}");
        }
    }
    report(options)
}

/// Whether the kernel object can be built as things are.
pub fn is_complete() -> bool {
    needs(Options::default()).iter().all(|need| need.missing.is_none())
}

fn needs(options: Options) -> Vec<Need> {
    let mut needs = packages::needs(options.tests);
    needs.extend(toolchain::needs());
    if options.tests {
        needs.extend(dependency_check::needs());
        needs.extend(kubernetes::needs());
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
