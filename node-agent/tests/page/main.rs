//! The page tier: the page in a headless Chromium that chromedriver steers, with servers that stand in for agents and with
//! the agent itself. `cargo xtask test --tier page` runs it.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod harness;

#[path = "../kernel/actor/mod.rs"]
#[expect(dead_code, reason = "shared with the kernel tier, which uses more of it")]
mod actor;
#[path = "../http_api/cluster.rs"]
#[expect(dead_code, reason = "shared with the http tests, which use more of it")]
mod cluster;
#[path = "../kernel/harness/mod.rs"]
#[expect(dead_code, reason = "shared with the kernel tier, which uses more of it")]
mod kernel;
#[path = "../http_api/model.rs"]
mod model;
#[path = "../http_api/served.rs"]
#[expect(dead_code, reason = "shared with the http tests, which use more of it")]
mod served;

use std::process::ExitCode;

use harness::driver::Driver;
use harness::report::Report;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    // An actor of the cases with real sockets is this program in a network namespace.
    if let Ok(netns) = std::env::var(actor::ACTOR_NETNS) {
        actor::run(&netns);
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    if arguments.list {
        let all = [cases::measured(""), cases::others("")].into_iter().flatten().collect();
        return libtest_mimic::run(&arguments, all).exit_code();
    }
    let driver = Driver::start();
    let alone = Arguments { test_threads: Some(1), ..arguments.clone() };
    let measured = libtest_mimic::run(&alone, cases::measured(driver.address()));
    // Half of a case is waiting for the browser's next frames.
    let threads =
        arguments.test_threads.or_else(|| Some(std::thread::available_parallelism().ok()?.get() + 1));
    let together = Arguments { test_threads: threads, ..arguments };
    let others = libtest_mimic::run(&together, cases::others(driver.address()));
    Report::print();
    if measured.has_failed() { measured.exit_code() } else { others.exit_code() }
}
