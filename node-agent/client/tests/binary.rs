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

#[test]
fn a_view_that_the_page_does_not_know_is_refused_before_the_cluster_is_searched() {
    for (view, expected) in [
        ("severity=bogus", "\"severity\": \"bogus\": expected one of critical, "),
        ("bogus=1", "\"bogus\": unknown parameter; expected one of q, "),
        ("since=99x", "\"since\": \"99x\": expected a duration such as "),
        ("http://127.0.0.1:8470/?bogus=1", "\"bogus\": unknown parameter; "),
    ] {
        let (code, out, err) = run(&["ui", view]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{view}: {err}");
        assert!(err.contains(expected) && err.trim_end().lines().count() == 1, "{view}: {err}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_before_the_cluster_is_searched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("an address").port().to_string();
    let (code, _, err) = run(&["ui", "--port", &port]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{err}");
    assert!(err.contains("another --port, or 0 for any that is free"), "{err}");
}

#[test]
fn a_name_that_no_namespace_can_have_is_refused_with_the_option_and_what_a_name_looks_like() {
    let long = "a".repeat(64);
    for words in [
        ["ui", "--agents-namespace", "no such"],
        ["findings", "--namespace", "Shop"],
        ["listeners", "--namespace", "shop/"],
        ["diff", "--namespace", ""],
        ["scan", "--in-namespace", "a.b"],
        ["scan", "--namespace", "a-"],
        ["images", "--namespace", &long],
    ] {
        let (code, out, err) = run(&words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {err}");
        assert!(err.contains(words[1]) && err.contains("lower-case letters, digits"), "{words:?}: {err}");
    }
    for command in ["explain", "policy", "declare"] {
        let (_, _, err) = run(&[command, "web", "-n", "no such"]);
        assert!(
            err.contains("--namespace") && err.contains("lower-case letters, digits"),
            "{command}: {err}"
        );
    }
    let (_, _, err) = run(&["findings", "--agents-namespace", "kube-system", "-n", "0-a"]);
    assert!(err.contains("no credentials"), "{err}");
}
