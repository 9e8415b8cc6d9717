//! The e2e tier: the chart and the image in a real cluster. It installs into namespaces of its own, deploys the multi-port
//! example, reads the findings in every way that users have, upgrades, uninstalls, and leaves nothing behind.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod example;
mod forward;
mod image;
mod patience;
mod tools;
mod verdict;
mod wanted;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;

use wanted::Wanted;
use world::World;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, cases::trials(None)).exit_code();
    }
    let wanted = match Wanted::from_environment() {
        Ok(wanted) => wanted,
        Err(missing) => {
            eprintln!("the e2e tier {missing}");
            return ExitCode::FAILURE;
        }
    };
    // Every case looks at the one release, in the order in which they are written.
    arguments.test_threads = Some(1);
    let world = Arc::new(World::set_up(wanted));
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
