//! The cri tier: a real containerd with runc and CNI plugins, pods created through CRI with the labels and annotations
//! that kubelet sets, and the agent binary beside them. Needs root; `cargo xtask test --tier cri` runs it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cases;
mod harness;

use std::process::ExitCode;

use harness::containerd::Node;
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, cases::all()).exit_code();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("the cri tier needs root");
        return ExitCode::FAILURE;
    }
    // Every case shares the one runtime.
    arguments.test_threads = Some(1);
    Node::set_up();
    let conclusion = libtest_mimic::run(&arguments, cases::all());
    let left = Node::tear_down();
    for thing in &left {
        eprintln!("left behind: {thing}");
    }
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}
