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

#[test]
fn the_baseline_may_be_the_file_that_gets_the_findings() {
    for (diff, then) in [("1", 1), ("0", 0)] {
        let directory = Scratch::new("action-same-file");
        plugin(directory.directory());
        // Compares for real: the two files must differ.
        let compares = "#!/bin/sh\nif [ \"$1\" = diff ]; then\n  shift\n  cmp -s \"$1\" \"$2\" && exit 9\n  \
                        exit \"$CODE\"\nfi\necho now\n";
        fs::write(directory.path("kubectl-portolan"), compares).unwrap();
        fs::write(directory.path("findings.json"), "before\n").unwrap();
        let path = directory.path("findings.json").display().to_string();
        for json in ["findings.json", "./findings.json", path.as_str()] {
            fs::write(directory.path("findings.json"), "before\n").unwrap();
            let variables = [("PORTOLAN_BASELINE", "findings.json"), ("PORTOLAN_JSON", json), ("CODE", diff)];
            let asked = run("ask.sh", directory.directory(), &variables);
            assert_eq!(asked.status.code(), Some(then), "{json}: {asked:?}");
            assert_eq!(fs::read_to_string(directory.path("findings.json")).unwrap(), "now\n");
        }
    }
}

#[test]
fn a_baseline_stays_as_it_was_if_the_plugin_cannot_ask() {
    let directory = Scratch::new("action-kept");
    plugin(directory.directory());
    fs::write(directory.path("findings.code"), "2").unwrap();
    fs::write(directory.path("findings.json"), "before").unwrap();
    let variables = [("PORTOLAN_BASELINE", "findings.json"), ("PORTOLAN_JSON", "findings.json")];
    assert_eq!(run("ask.sh", directory.directory(), &variables).status.code(), Some(2));
    assert_eq!(fs::read_to_string(directory.path("findings.json")).unwrap(), "before");
}

#[test]
fn reports_get_their_directory_and_one_that_cannot_be_written_is_no_finding() {
    let directory = Scratch::new("action-directories");
    plugin(directory.directory());
    let asked = run("ask.sh", directory.directory(), &[("PORTOLAN_JSON", "reports/deep/findings.json")]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let found = fs::read_to_string(directory.path("reports/deep/findings.json")).unwrap();
    assert_eq!(found, "output of findings\n");

    fs::write(directory.path("file"), "").unwrap();
    for variable in ["PORTOLAN_JSON", "PORTOLAN_JUNIT"] {
        let asked = run("ask.sh", directory.directory(), &[(variable, "file/report")]);
        let out = String::from_utf8(asked.stdout).unwrap();
        assert_eq!(asked.status.code(), Some(2), "{out}");
        assert!(out.contains("\n::error::cannot write file/report: "), "{out}");
    }
}

#[test]
fn a_report_that_may_not_be_replaced_is_no_finding() {
    let directory = Scratch::new("action-read-only");
    plugin(directory.directory());
    let report = directory.path("report.xml");
    fs::write(&report, "before").unwrap();
    fs::set_permissions(&report, fs::Permissions::from_mode(0o444)).unwrap();
    // The superuser may write it all the same.
    let may_write = fs::OpenOptions::new().append(true).open(&report).is_ok();
    let asked = run("ask.sh", directory.directory(), &[("PORTOLAN_JUNIT", "report.xml")]);
    let out = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(asked.status.code(), Some(if may_write { 0 } else { 2 }), "{out}");
    assert_eq!(out.contains("\n::error::cannot write report.xml: "), !may_write, "{out}");
    let kept = if may_write { "output of findings\n" } else { "before" };
    assert_eq!(fs::read_to_string(&report).unwrap(), kept);
}

#[test]
fn the_findings_are_named_only_where_they_are() {
    for (diff, is_named) in [("2", false), ("1", true)] {
        let directory = Scratch::new("action-named");
        plugin(directory.directory());
        fs::write(directory.path("diff.code"), diff).unwrap();
        let variables = [("PORTOLAN_BASELINE", "before.json"), ("PORTOLAN_JSON", "findings.json")];
        let asked = run("ask.sh", directory.directory(), &variables);
        assert_eq!(asked.status.code().map(|code| code.to_string()).as_deref(), Some(diff), "{asked:?}");
        assert_eq!(directory.path("findings.json").exists(), is_named);
        let named = fs::read_to_string(directory.path("GITHUB_OUTPUT")).unwrap_or_default();
        assert_eq!(named, if is_named { "json=findings.json\n" } else { "" });
    }
}

#[test]
fn what_pods_named_is_no_command_to_the_runner() {
    let directory = Scratch::new("action-commands");
    plugin(directory.directory());
    let evil = "#!/bin/sh\necho '::error::of a pod' >&2\necho '##[error]of a pod'\n";
    fs::write(directory.path("kubectl-portolan"), evil).unwrap();
    let mut tokens = BTreeSet::new();
    for _ in 0..2 {
        let asked = run("ask.sh", directory.directory(), &[("PORTOLAN_BASELINE", "before.json")]);
        let (out, err) = (String::from_utf8(asked.stdout).unwrap(), String::from_utf8(asked.stderr).unwrap());
        assert_eq!(err, "", "the runner reads two streams in no order");
        let token = out.lines().next().unwrap().strip_prefix("::stop-commands::").unwrap();
        assert!(out.contains("##[error]of a pod") && out.contains("::error::of a pod"), "{out}");
        assert_eq!(out.lines().last(), Some(format!("::{token}::").as_str()), "{out}");
        assert_eq!(out.matches(token).count(), 2, "{out}");
        tokens.insert(token.to_owned());
    }
    assert_eq!(tokens.len(), 2, "a pod could guess {tokens:?}");
}

#[test]
fn a_runner_without_a_plugin_for_it_is_refused_in_one_line() {
    let directory = Scratch::new("action-windows");
    let uname = directory.path("uname");
    fs::write(&uname, "#!/bin/sh\necho MINGW64_NT-10.0\n").unwrap();
    fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).unwrap();
    let installed = run("install.sh", directory.directory(), &[("PORTOLAN_VERSION", "v9.9.9")]);
    assert_eq!(installed.status.code(), Some(2), "{installed:?}");
    let err = String::from_utf8(installed.stderr).unwrap();
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("::error::this action runs on Linux and macOS"), "{err}");
}
