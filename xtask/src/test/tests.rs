//! The `cargo test` command lines that tiers share.

use std::process::Command;

use crate::workspace;

/// Returns `cargo test` with the same packages and features for every tier, so that the crates are built only once.
pub(super) fn tests() -> Command {
    let mut command = workspace::cargo();
    // The fuzzer's binary is no test; `cargo xtask fuzz` runs it.
    command.args(["test", "--workspace", "--exclude", "portolan-fuzz"]);
    let tiers = ["kernel", "cri", "chart", "page", "e2e"].map(|tier| format!("portolan/{tier}-tier"));
    command.args(["--features", &tiers.join(",")]);
    command
}

/// Returns `cargo test` for the cri tests.
pub(super) fn cri_tests() -> Command {
    let mut command = tests();
    command.args(["--test", "cri", "--no-fail-fast"]);
    command
}
