//! Tests of completion with the real kubectl, which finds and runs the script that the plugin prints.
#![cfg(unix)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use portolan_testing::scratch::Scratch;
use portolan_testing::tools;

const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-portolan");

/// A directory for PATH with the plugin and its script, as a user installs them.
struct Installed {
    kubectl: PathBuf,
    scratch: Scratch,
}

impl Installed {
    /// Returns `None` if there is no kubectl.
    fn new() -> Option<Self> {
        let Some(kubectl) = tools::program("kubectl") else {
            println!("skipped: no kubectl; run `cargo xtask setup --tests`");
            return None;
        };
        let scratch = Scratch::new("completion");
        symlink(PLUGIN, scratch.path("kubectl-portolan")).expect("a link");
        let output = Command::new(PLUGIN).args(["completion", "kubectl"]).output().expect("runs");
        let script = String::from_utf8(output.stdout).expect("text");
        let script = scratch.write("kubectl_complete-portolan", &script);
        std::fs::set_permissions(script, Permissions::from_mode(0o755)).expect("executable");
        Some(Self { kubectl, scratch })
    }

    /// Returns what kubectl tells a shell for these words.
    fn complete(&self, words: &[&str]) -> String {
        let path = format!("{}:/usr/bin:/bin", self.scratch.directory().display());
        let mut command = Command::new(&self.kubectl);
        command.arg("__complete").args(words).env("PATH", path).env("KUBECONFIG", self.scratch.path("none"));
        let output = command.env("HOME", self.scratch.directory()).output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[test]
fn kubectl_completes_the_plugin() {
    let Some(installed) = Installed::new() else { return };
    for (words, expected) in [
        (
            &["portolan", "listen"] as &[&str],
            "listeners\tShow every port that is listened on, on all nodes\n:4\n",
        ),
        (&["portolan", "findings", "--severity", "h"], "high\n:4\n"),
        (&["portolan", "findings", "--output=y"], "yaml\n:4\n"),
        (&["portolan", "findings", "--no-such"], ":4\n"),
    ] {
        assert_eq!(installed.complete(words), expected, "{words:?}");
    }
}

#[test]
fn each_shell_has_a_script() {
    for (shell, mark) in [
        ("bash", "complete -F _kubectl__portolan"),
        ("elvish", "set edit:completion"),
        ("fish", "complete -c kubectl-portolan"),
        ("powershell", "Register-ArgumentCompleter"),
        ("zsh", "#compdef kubectl-portolan"),
    ] {
        let output = Command::new(PLUGIN).args(["completion", shell]).output().expect("runs");
        let script = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && script.contains(mark), "{shell}: {script}");
    }
}
