//! The `cargo test` command lines that tiers share.

use std::process::Command;

use crate::workspace;

/// Returns `cargo test` with the same packages and features for every tier, so that the crates are built only once.
pub(super) fn tests() -> Command {
    let mut command = workspace::cargo();
    // The fuzzer's binary is no test; `cargo xtask fuzz` runs it. The tests of xtask are those of `own_tests`.
    command.args(["test", "--workspace", "--exclude", "portolan-fuzz", "--exclude", "xtask"]);
    let tiers = ["kernel", "cri", "chart", "page", "e2e"].map(|tier| format!("portolan/{tier}-tier"));
    command.args(["--features", &tiers.join(",")]);
    command
}

/// Returns `cargo test` for xtask itself, in the profile in which it was built to run this. The tests' profile would compile it and
/// forty crates that only it uses once more.
pub(super) fn own_tests() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--package", "xtask", "--profile", "quick", "--no-fail-fast"]);
    command
}

/// Makes libtest write the time of each test, which it does only where unstable options are allowed. They are allowed for the
/// tests' own processes alone: for the build it would compile crates again. All test targets of the command must use libtest.
pub(super) fn with_times(command: &mut Command) -> &mut Command {
    // One that the user has chosen takes precedence, and would not allow the options.
    let has_runner = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .any(|name| name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER"));
    if has_runner {
        return command;
    }
    let runner = r#"target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]"#;
    command.args(["--config", runner, "--", "-Z", "unstable-options", "--report-time"])
}

/// Returns `cargo test` for the cri tests.
pub(super) fn cri_tests() -> Command {
    let mut command = tests();
    command.args(["--test", "cri", "--no-fail-fast"]);
    command
}
