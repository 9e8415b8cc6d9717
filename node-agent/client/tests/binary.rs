//! Tests of the binary `kubectl-portolan`: help text and exit codes.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

/// Runs the plugin without any credentials.
fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-portolan"));
    command.args(words).env("KUBECONFIG", "/nonexistent/kubeconfig").env("HOME", "/nonexistent");
    let output = command.output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_names_the_command_as_kubectl_does() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Usage: kubectl portolan"), "{out}");
}

#[test]
fn missing_credentials_have_exit_code_2_and_a_message_of_one_line() {
    let (code, out, err) = run(&["findings"]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
}

#[test]
fn wrong_use_has_exit_code_2() {
    let (code, _, err) = run(&["findings", "--code", "no-such-code"]);
    assert_eq!(code, Some(2), "{err}");
}
