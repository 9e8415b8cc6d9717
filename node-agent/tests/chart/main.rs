//! The chart tier: checks the Helm chart as helm renders it against the schemas of Kubernetes, this project's rules for
//! privileges, the agent's parsers and its metrics. `cargo xtask test --tier chart` runs it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod accepted;
mod alerts;
mod cluster;
mod documented;
mod helm;
mod least_privilege;
mod objects;
mod refused;
mod released;
mod standard;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Name of a case, and its test.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let cases = [
        standard::CASES,
        least_privilege::CASES,
        accepted::CASES,
        refused::CASES,
        released::CASES,
        documented::CASES,
        alerts::CASES,
    ];
    let trial = |(name, case): &Case| {
        let case = *case;
        Trial::test(*name, move || {
            case();
            Ok::<(), Failed>(())
        })
    };
    let mut trials: Vec<Trial> = cases.into_iter().flatten().map(trial).collect();
    trials.push(cluster::trial());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
