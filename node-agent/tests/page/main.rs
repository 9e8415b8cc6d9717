//! The page tier: the page in a headless Chromium that chromedriver steers, with servers that stand in for agents and with
//! the agent itself. `cargo xtask test --tier page` runs it.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod harness;

use std::process::ExitCode;

use harness::driver::Driver;
use harness::report::Report;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, cases::all(None)).exit_code();
    }
    let driver = Driver::start();
    let conclusion = libtest_mimic::run(&arguments, cases::all(Some(driver.address())));
    Report::print();
    conclusion.exit_code()
}
