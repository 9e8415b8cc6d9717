//! The GitHub Action: its inputs, and its scripts with a plugin that records how it is called.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails with the error")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_testing::scratch::Scratch;
use serde_json::Value;

fn action() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/actions/findings")
}

fn definition() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(action().join("action.yml")).unwrap()).unwrap()
}

/// Writes a plugin that records its words, and ends with the code in the file `COMMAND.code`.
fn plugin(directory: &Path) -> PathBuf {
    let path = directory.join("kubectl-portolan");
    let script = "#!/bin/sh\nhere=$(dirname \"$0\")\necho \"$*\" >> \"$here/calls\"\necho \"output of $1\"\n\
                  exit \"$(cat \"$here/$1.code\" 2> /dev/null || echo 0)\"\n";
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs a script of the action with the variables that GitHub and the action set.
fn run(script: &str, directory: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(action().join(script));
    command.env_clear().current_dir(directory);
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display()));
    command.env("RUNNER_TEMP", directory);
    for name in ["GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
        command.env(name, directory.join(name));
    }
    for name in declared_variables() {
        command.env(name, "");
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

/// Returns the variables that the steps set.
fn declared_variables() -> BTreeSet<String> {
    let definition = definition();
    let steps = definition.pointer("/runs/steps").unwrap().as_array().unwrap();
    steps.iter().flat_map(|step| step.get("env").unwrap().as_object().unwrap().keys().cloned()).collect()
}

#[test]
fn every_input_is_declared_described_and_used() {
    let text = fs::read_to_string(action().join("action.yml")).unwrap();
    let definition = definition();
    let declared: BTreeSet<&str> =
        definition["inputs"].as_object().unwrap().keys().map(String::as_str).collect();
    let used: BTreeSet<&str> = text
        .split("inputs.")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap())
        .collect();
    assert_eq!(declared, used);
    for variable in declared_variables() {
        let scripts =
            ["install.sh", "ask.sh"].map(|script| fs::read_to_string(action().join(script)).unwrap());
        assert!(scripts.iter().any(|script| script.contains(&variable)), "{variable}");
    }
    // An input in the text of a script would be run by the shell.
    for step in definition.pointer("/runs/steps").unwrap().as_array().unwrap() {
        assert!(!step["run"].as_str().unwrap().contains("${{"), "{step}");
    }
}

#[test]
fn a_release_is_installed_only_if_its_hash_is_right() {
    let directory = Scratch::new("action-install");
    let releases = directory.path("releases/v9.9.9");
    fs::create_dir_all(&releases).unwrap();
    plugin(&releases);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let archive = format!("kubectl-portolan-v9.9.9-{system}-{architecture}.tar.gz");
    let packed =
        Command::new("tar").args(["-czf", &archive, "kubectl-portolan"]).current_dir(&releases).status();
    assert!(packed.unwrap().success());
    let sums = if cfg!(target_os = "macos") { "shasum -a 256" } else { "sha256sum" };
    let script = format!("{sums} {archive} > SHA256SUMS");
    let summed = Command::new("sh").args(["-c", &script]).current_dir(&releases).status();
    assert!(summed.unwrap().success());
    let url = format!("file://{}", directory.path("releases").display());
    let variables = [("PORTOLAN_RELEASES", url.as_str()), ("PORTOLAN_VERSION", "v9.9.9")];
    let installed = run("install.sh", directory.directory(), &variables);
    assert!(installed.status.success(), "{installed:?}");
    let path = fs::read_to_string(directory.path("GITHUB_PATH")).unwrap();
    assert!(Path::new(path.trim()).join("kubectl-portolan").is_file(), "{path}");

    let sums = fs::read_to_string(releases.join("SHA256SUMS")).unwrap();
    for wrong in [format!("{}  {archive}\n", "0".repeat(64)), sums.replace(&archive, "other.tar.gz")] {
        fs::write(releases.join("SHA256SUMS"), wrong).unwrap();
        fs::remove_file(directory.path("GITHUB_PATH")).ok();
        assert!(!run("install.sh", directory.directory(), &variables).status.success());
        assert!(!directory.path("GITHUB_PATH").exists());
    }
    let branch = run("install.sh", directory.directory(), &[("PORTOLAN_VERSION", "main")]);
    assert_eq!(branch.status.code(), Some(2));
}

#[test]
fn reports_are_written_before_the_job_fails() {
    let directory = Scratch::new("action-ask");
    plugin(directory.directory());
    fs::write(directory.path("findings.code"), "1").unwrap();
    let variables = [("PORTOLAN_NAMESPACE", "shop"), ("PORTOLAN_JUNIT", "out/portolan.xml")];
    let asked = run("ask.sh", directory.directory(), &variables);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    let calls = fs::read_to_string(directory.path("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(
        calls,
        [
            "findings --namespace shop --fail-on high --output json",
            "findings --namespace shop --fail-on high --output junit",
            "findings --namespace shop",
        ]
    );
    assert!(directory.path("out/portolan.xml").is_file());
    let summary = fs::read_to_string(directory.path("GITHUB_STEP_SUMMARY")).unwrap();
    assert!(summary.contains("\n    output of findings\n"), "{summary}");
    assert!(fs::read_to_string(directory.path("GITHUB_OUTPUT")).unwrap().starts_with("json="));
}

#[test]
fn with_a_baseline_only_what_is_new_fails() {
    for (findings, diff, then) in [("0", "1", 1), ("0", "0", 0), ("3", "0", 3), ("3", "1", 1), ("2", "0", 2)]
    {
        let directory = Scratch::new("action-baseline");
        plugin(directory.directory());
        fs::write(directory.path("findings.code"), findings).unwrap();
        fs::write(directory.path("diff.code"), diff).unwrap();
        let asked = run("ask.sh", directory.directory(), &[("PORTOLAN_BASELINE", "before.json")]);
        assert_eq!(asked.status.code(), Some(then), "{findings} {diff}: {asked:?}");
        let calls = fs::read_to_string(directory.path("calls")).unwrap();
        assert!(!calls.contains("--fail-on"), "{calls}");
        assert_eq!(calls.contains("diff before.json "), then != 2, "{calls}");
    }
}
