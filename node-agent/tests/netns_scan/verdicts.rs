//! Runs `portolan scan` over manifests in `verdicts/`, each with listeners in a netns of its own.
//!
//! Lines that begin with `#!` say what is right: `listen PROTOCOL ADDRESS PORT`; `expect NAMESPACE/POD PROTOCOL PORT CODE` with
//! `verdict=`, `by=` (the explanation, `-` for none) or `container=`; `none …` for a finding that must be missing; `amiss TEXT`
//! for what stderr says and `--strict` refuses; `clean` where nothing is amiss. `NETNS` stands for the name of the netns.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::lab::{Netns, Running};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns_scan/verdicts");

/// One run of the program.
struct Scanned {
    output: Output,
    findings: Vec<Value>,
}

fn scan(manifest: &Path, strict: bool) -> Scanned {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(["scan", "-o", "json", "--metadata"]).arg(format!("file={}", manifest.display()));
    if strict {
        command.arg("--strict");
    }
    let output = command.output().expect("starts");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let findings = list["items"].as_array().cloned().unwrap_or_default();
    Scanned { output, findings }
}

impl Scanned {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Returns the finding of a port; with a code, only one of that code.
    fn finding(&self, words: &[&str]) -> Option<&Value> {
        let [pod, protocol, port, more @ ..] = words else { panic!("{words:?}") };
        let code = more.first().filter(|word| !word.contains('='));
        self.findings.iter().find(|finding| {
            let named = format!("{}/{}", text(&finding["pod"]["namespace"]), text(&finding["pod"]["name"]));
            let listener = &finding["listener"];
            // What nobody serves has no listener; its message names the port.
            let is_about = if listener.is_null() {
                text(&finding["message"]).contains(&format!("port {port}/{protocol} "))
            } else {
                text(&listener["protocol"]) == *protocol
                    && listener["port"] == port.parse::<u16>().expect("a port")
            };
            named == *pod && is_about && code.is_none_or(|code| text(&finding["code"]) == *code)
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Returns what a finding says about a key of an expectation.
fn said(finding: &Value, key: &str) -> String {
    match key {
        "verdict" => text(&finding["policy"]["verdict"]).to_owned(),
        "container" => text(&finding["container"]["name"]).to_owned(),
        "by" => match finding["declaration"]["explainedBy"].get(0) {
            Some(first) => format!("{}:{}", text(&first["source"]), text(&first["ref"])),
            None => "-".to_owned(),
        },
        other => panic!("unknown key {other}"),
    }
}

/// Returns what is wrong with a run, by one line of its case.
fn wrong(line: &str, scanned: &Scanned, strict: &Scanned) -> Option<String> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    match kind {
        "listen" => None,
        "none" => scanned.finding(&words).map(|finding| format!("{line}: {finding}")),
        "amiss" if !scanned.stderr().contains(rest) => Some(format!("{line}: {}", scanned.stderr())),
        "amiss" => (strict.output.status.code() != Some(2)).then(|| format!("{line}: --strict accepts it")),
        "clean" if !strict.output.status.success() => Some(format!("{line}: {}", strict.stderr())),
        "clean" => None,
        "expect" => {
            let Some(finding) = scanned.finding(&words) else {
                return Some(format!("{line}: {:?} {}", scanned.findings, scanned.stderr()));
            };
            let pairs = words.iter().filter_map(|word| word.split_once('='));
            pairs
                .filter(|(key, value)| said(finding, key) != *value)
                .map(|(key, _)| format!("{line}: {key} is {}", said(finding, key)))
                .next()
        }
        other => panic!("unknown line {other}"),
    }
}

fn check(case: &Path, directory: &Path) -> Vec<String> {
    let netns = Netns::new("verdict");
    let text = fs::read_to_string(case).expect("a case").replace("NETNS", &netns.0);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
    let listeners: Vec<Running> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("listen TCP "))
        .map(|listener| {
            let (address, port) = listener.split_once(' ').expect("an address and a port");
            netns.python(&format!("s = socket.create_server(('{address}', {port}))"))
        })
        .collect();
    let manifest = directory.join(case.file_name().expect("a name"));
    fs::write(&manifest, &text).expect("written");
    let (scanned, strict) = (scan(&manifest, false), scan(&manifest, true));
    drop(listeners);
    let mut problems: Vec<String> = lines.iter().filter_map(|line| wrong(line, &scanned, &strict)).collect();
    if !scanned.output.status.success() {
        problems.push(format!("exit code {:?}: {}", scanned.output.status.code(), scanned.stderr()));
    }
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    problems.into_iter().map(|problem| format!("{name}: {problem}")).collect()
}

#[test]
fn every_manifest_gives_the_verdicts_that_kubernetes_gives_reason_for() {
    let directory = std::env::temp_dir().join(format!("portolan-verdicts-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let mut cases: Vec<_> =
        fs::read_dir(CASES).expect("cases").map(|entry| entry.expect("a case").path()).collect();
    cases.sort();
    let problems: Vec<String> = cases.iter().flat_map(|case| check(case, &directory)).collect();
    fs::remove_dir_all(&directory).expect("clean");
    assert!(cases.len() > 20, "{} cases", cases.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
