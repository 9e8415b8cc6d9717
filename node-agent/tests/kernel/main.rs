//! The kernel tier: runs the agent binary with real kernel programs, namespaces and sockets. Each case ends by
//! comparing the agent's list with the kernel's own. Needs root; `cargo xtask test --tier kernel` runs it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod actor;
mod cases;
mod harness;

use std::process::ExitCode;

use harness::leaks::Before;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    if std::env::var_os(actor::ACTOR_HOLDS).is_some() {
        actor::hold();
        return ExitCode::SUCCESS;
    }
    if let Ok(netns) = std::env::var(actor::ACTOR_NETNS) {
        actor::run(&netns);
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    if !arguments.list && !rustix::process::geteuid().is_root() {
        eprintln!("the kernel tier needs root");
        return ExitCode::FAILURE;
    }
    let before = Before::now();
    let conclusion = libtest_mimic::run(&arguments, cases::all());
    if !arguments.list {
        before.compare();
    }
    conclusion.exit_code()
}
