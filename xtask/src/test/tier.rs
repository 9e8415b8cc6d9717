//! The tiers: what each needs, what stands in its way on this machine, and how it is run.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use super::e2e;
use super::tally::Tally;
use crate::{image, setup, step, vm, workspace};

/// A group of tests with the same needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    Unit,
    Http,
    Kernel,
    Vm,
    Api,
    Cri,
    Privilege,
    Chart,
    E2e,
}

impl Tier {
    /// In the order in which they run.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Http => "http",
            Self::Kernel => "kernel",
            Self::Vm => "vm",
            Self::Api => "api",
            Self::Cri => "cri",
            Self::Privilege => "privilege",
            Self::Chart => "chart",
            Self::E2e => "e2e",
        }
    }

    pub fn proves(self) -> &'static str {
        match self {
            Self::Unit => "engine, decoding, parsers, configuration, property tests; every crate",
            Self::Http => "every route over real sockets",
            Self::Kernel => "the agent binary, real programs, real namespaces, real sockets",
            Self::Vm => "the same agent on other kernels",
            Self::Api => "the sources that talk to Kubernetes' API server, against one that stands in for it",
            Self::Cri => "a real container runtime",
            Self::Privilege => {
                "the image in a container with what the chart gives it, and without each part of that"
            }
            Self::Chart => {
                "the Helm chart: schemas, privileges, alerts, and that the agent takes what it gives"
            }
            Self::E2e => "a real cluster: install, find, upgrade, uninstall",
        }
    }

    /// What stands in the way, and what to do about it.
    pub fn obstacle(self) -> Option<String> {
        match self {
            Self::Unit | Self::Http | Self::Api => None,
            Self::Kernel if !rustix::process::geteuid().is_root() => {
                Some("needs root: run `sudo -E env PATH=$PATH cargo xtask test --tier kernel`".to_owned())
            }
            Self::Kernel if !setup::is_complete() => {
                Some("needs the kernel toolchain: run `cargo xtask setup`".to_owned())
            }
            Self::Kernel => None,
            Self::Cri | Self::Privilege => cri_obstacle(),
            Self::Vm => vm::obstacle(),
            Self::Chart => chart_obstacle(),
            Self::E2e => e2e::obstacle(),
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Where it could not be run at all; tests that fail are in the tally.
    pub fn run(self) -> Result<Tally> {
        match self {
            Self::Unit => Tally::of(tests().args([
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--test",
                "scenarios",
                "--test",
                "policy_draft",
            ])),
            Self::Http => Tally::of(tests().args(["--test", "http_api"])),
            Self::Kernel => Tally::of(tests().args([
                "--test",
                "kernel",
                "--test",
                "netns_scan",
                "--no-fail-fast",
                // Every agent sees every namespace of the machine: one that a hostile test fills would slow the others.
                "--",
                "--test-threads=1",
            ])),
            // The image under test would be another tier's.
            Self::Cri => Tally::of(cri_tests().env_remove("PORTOLAN_IMAGE")),
            Self::Privilege => {
                let image = image::make(&image::Options::default())?;
                // Only these cases start the image; without it they are not there.
                let mut tests = cri_tests();
                tests.args(["--", "privilege/"]).env("PORTOLAN_IMAGE", image.archive);
                Tally::of(tests.env("PORTOLAN_IMAGE_NAME", image.name))
            }
            Self::Vm => vm::run(),
            // The second builds the plugin that some cases of the first run.
            Self::Api => Tally::of(tests().args(["--test", "api", "--test", "binary"])),
            Self::Chart => Tally::of(tests().args(["--test", "chart"])),
            Self::E2e => e2e::run(),
        }
    }
}

fn chart_obstacle() -> Option<String> {
    let missing = setup::kubernetes::missing_for(Tier::Chart);
    (!missing.is_empty()).then(|| format!("needs {}: run `cargo xtask setup --tests`", missing.join(", ")))
}

fn cri_obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root: run `sudo -E env PATH=$PATH cargo xtask test --tier cri`".to_owned());
    }
    if !setup::is_complete() {
        return Some("needs the kernel toolchain: run `cargo xtask setup`".to_owned());
    }
    let missing: Vec<&str> =
        ["containerd", "ctr", "runc", "busybox"].into_iter().filter(|name| !step::in_path(name)).collect();
    if !missing.is_empty() {
        return Some(format!("needs {}: run `cargo xtask setup --tests`", missing.join(", ")));
    }
    None
}

fn cri_tests() -> Command {
    let mut command = tests();
    command.args(["--test", "cri", "--no-fail-fast"]);
    command
}

/// `cargo test` as every tier has it: one choice of packages and features, so that the crates are built once for all.
pub(super) fn tests() -> Command {
    let mut command = workspace::cargo();
    // The fuzzer's binary is no test; `cargo xtask fuzz` runs it.
    command.args(["test", "--workspace", "--exclude", "portolan-fuzz"]);
    let tiers = ["kernel", "cri", "chart", "e2e"].map(|tier| format!("portolan/{tier}-tier"));
    command.args(["--features", &tiers.join(",")]);
    command
}
