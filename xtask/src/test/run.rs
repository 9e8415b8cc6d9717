//! Runs a tier: what this machine lacks for it, and the commands that run its tests.

use anyhow::Result;

use super::e2e;
use super::page;
use super::tally::Tally;
use super::tests::{cri_tests, own_tests, tests, with_times};
use super::tier::Tier;
use crate::package::trial;
use crate::{image, setup, step, vm};

impl Tier {
    /// Returns what prevents this tier from running here and what to do about it. `None`: the tier can run.
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
            Self::Package => trial::obstacle(),
            Self::Vm => vm::obstacle(),
            Self::Chart => chart_obstacle(),
            Self::Page => page::obstacle(),
            Self::E2e => e2e::obstacle(),
        }
    }

    /// Runs the tier to its end.
    ///
    /// # Errors
    /// If the tier could not run at all. Failed tests are in the tally.
    pub fn run(self) -> Result<Tally> {
        match self {
            Self::Unit => unit(),
            Self::Http => Tally::of(with_times(tests().args(["--test", "http_api"]))),
            Self::Kernel => Tally::of_one_by_one(tests().args([
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
            Self::Cri => Tally::of_one_by_one(cri_tests().env_remove("PORTOLAN_IMAGE")),
            Self::Privilege => {
                let image = image::make(&image::Options::default())?;
                // Only these cases start the image; without it they are not there.
                let mut tests = cri_tests();
                tests.args(["--", "privilege/"]).env("PORTOLAN_IMAGE", image.archive);
                Tally::of_one_by_one(tests.env("PORTOLAN_IMAGE_NAME", image.name))
            }
            Self::Package => trial::run(),
            Self::Vm => vm::run(),
            // The second test builds the plugin that some cases of the first run.
            Self::Api => Tally::of(with_times(tests().args(["--test", "api", "--test", "binary"]))),
            Self::Chart => Tally::of(tests().args(["--test", "chart"])),
            Self::Page => page::run(),
            Self::E2e => e2e::run(),
        }
    }
}

fn unit() -> Result<Tally> {
    let words = ["--no-fail-fast", "--lib", "--bins", "--test", "scenarios", "--test", "policy_draft"];
    let mut whole = Tally::of(with_times(tests().args(words)))?;
    whole.add(&Tally::of(with_times(&mut own_tests()))?);
    Ok(whole)
}

fn chart_obstacle() -> Option<String> {
    let missing = setup::tools::missing_for(Tier::Chart);
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
