//! The e2e tier: the chart and the image in a real cluster. Installs into new namespaces, deploys the multi-port example,
//! reads the findings in every way that users have, upgrades, uninstalls, and leaves nothing behind.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod environment;
mod example;
mod forward;
mod image;
mod tools;
mod verdict;
mod workload;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;

use environment::Environment;
use world::World;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, cases::trials(None)).exit_code();
    }
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(missing) => {
            eprintln!("the e2e tier {missing}");
            return ExitCode::FAILURE;
        }
    };
    // All cases share one release, and run in the order in which they are written.
    arguments.test_threads = Some(1);
    let world = Arc::new(World::set_up(environment));
    let conclusion = libtest_mimic::run(&arguments, cases::trials(Some(&world)));
    if conclusion.has_failed() {
        world.describe();
    }
    let left = world.tear_down();
    for thing in &left {
        eprintln!("left behind: {thing}");
    }
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}
