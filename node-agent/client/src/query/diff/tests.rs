//! Tests of `diff`: files in, changes and exit codes out.

use std::collections::BTreeSet;

use portolan_report::fingerprint::{Place, Subject, fingerprint};
use serde_json::{Value, json};

use super::args::DiffFormat;
use super::changes::{Kind, between};
use super::show_changes;
use super::snapshot::{Snapshot, SnapshotError};
use crate::exit::Exit;
use crate::query::console::Console;

/// Builds the JSON of a finding.
fn finding(node: &str, pod: &str, port: u16, severity: &str, state: &str) -> Value {
    json!({
        "kind": "Finding", "schema": "portolan/v1", "node": node, "time": "2026-03-04T12:00:00Z",
        "id": format!("{pod}-{port}"), "fingerprint": "", "state": state, "code": format!("code-{severity}"),
        "severity": severity, "message": "m", "firstSeen": "2026-03-04T12:00:00Z",
        "lastSeen": "2026-03-04T12:00:00Z",
        "pod": {"namespace": "shop", "name": pod, "uid": pod, "hostNetwork": false,
                "workload": {"kind": "Deployment", "name": "web"}},
        "container": {"name": "app", "id": "c", "image": "web:1"}, "protocol": "TCP", "port": port,
        "listener": null, "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []},
        "exposure": "pod", "policy": {"verdict": "open", "policies": []},
        "traffic": {"since": null, "attempts": 0, "connections": 0, "packets": 0, "bytes": 0,
                    "lastSeen": null, "peers": [], "truncated": false},
        "suppressedBy": if state == "suppressed" { json!({"rule": "r1", "reason": "known"}) } else { Value::Null },
    })
}

/// Returns a snapshot of a list, as a file has it.
fn list(items: &[Value], missing: &[&str]) -> Snapshot {
    let missing: Vec<Value> = missing.iter().map(|node| json!({"node": node, "reason": "silent"})).collect();
    let text = json!({"schema": "portolan/v1", "items": items, "missing": missing}).to_string();
    Snapshot::parse(&text, None).expect("a list")
}

/// Returns the changes by port.
fn kinds(old: &Snapshot, new: &Snapshot) -> Vec<(u16, Kind)> {
    let changes = between(old, new);
    changes.iter().map(|change| (change.place.port.expect("a port"), change.kind)).collect()
}

/// Returns what `diff` writes, and its exit code.
fn shown(old: &Snapshot, new: &Snapshot, output: DiffFormat) -> (String, String, Exit) {
    let (mut answers, mut messages) = (Vec::new(), Vec::new());
    let exit =
        show_changes(old, new, output, &mut Console::new(&mut answers, &mut messages)).expect("written");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(answers), text(messages), exit)
}

/// A pipe whose reader is gone.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_exit_code_holds_though_nobody_reads_the_changes() {
    let (old, new) = (list(&[], &[]), list(&[finding("a", "web-1", 1, "high", "open")], &[]));
    for output in [DiffFormat::Table, DiffFormat::Json] {
        let exit = show_changes(&old, &new, output, &mut Console::new(Closed, Closed)).expect("no failure");
        assert_eq!(exit, Exit::FailOn, "{output:?}");
    }
}

#[test]
fn what_fails_comes_first() {
    let old = [
        finding("a", "web-1", 1, "high", "open"),
        finding("a", "web-1", 2, "low", "open"),
        finding("a", "web-1", 3, "high", "open"),
        finding("a", "web-1", 4, "low", "open"),
    ];
    let new = [
        finding("a", "web-2", 2, "high", "open"),
        finding("a", "web-2", 3, "low", "open"),
        finding("a", "web-2", 4, "low", "open"),
        finding("a", "web-2", 5, "info", "open"),
    ];
    let (old, new) = (list(&old, &[]), list(&new, &[]));
    assert_eq!(kinds(&old, &new), [(5, Kind::New), (2, Kind::Worse), (3, Kind::Better), (1, Kind::Gone)]);
    let (table, messages, exit) = shown(&old, &new, DiffFormat::Table);
    assert!(table.contains("low -> high") && table.contains("Deployment/web"), "{table}");
    assert_eq!((messages.as_str(), exit), ("", Exit::FailOn));
}

#[test]
fn the_pods_of_a_workload_are_one_port_with_the_worst_severity() {
    let one = list(&[finding("a", "web-1", 1, "high", "open")], &[]);
    let both = [finding("a", "web-1", 1, "low", "open"), finding("b", "web-2", 1, "high", "open")];
    assert_eq!(kinds(&one, &list(&both, &[])), []);
    assert_eq!(kinds(&list(&both, &[]), &list(&both[..1], &[])), [(1, Kind::Better)]);
}

#[test]
fn a_finding_of_a_node_that_did_not_answer_is_not_gone() {
    let old = [finding("a", "web-1", 1, "high", "open"), finding("b", "web-2", 1, "low", "open")];
    let (old, new) = (list(&old, &[]), list(&old[1..], &["a"]));
    assert_eq!(kinds(&old, &new), [(1, Kind::Unknown)]);
    let (_, messages, exit) = shown(&old, &new, DiffFormat::Table);
    assert_eq!(exit, Exit::Partial);
    assert_eq!(messages, "NEW is partial: it lacks the answer of a\n");
    assert_eq!(kinds(&old, &list(&[], &["b"])), [(1, Kind::Unknown)]);
    assert_eq!(kinds(&old, &list(&[], &["c"])), [(1, Kind::Gone)]);
}

#[test]
fn only_open_findings_count() {
    let open = list(&[finding("a", "web-1", 1, "high", "open")], &[]);
    let suppressed = list(&[finding("a", "web-1", 1, "high", "suppressed")], &[]);
    let resolved = list(&[finding("a", "web-1", 1, "high", "resolved")], &[]);
    assert_eq!(kinds(&open, &resolved), [(1, Kind::Gone)]);
    assert_eq!(kinds(&resolved, &suppressed), []);
    assert_eq!(kinds(&suppressed, &open), [(1, Kind::New)]);
    let (json, _, exit) = shown(&open, &suppressed, DiffFormat::Json);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.pointer("/items/0/note"), Some(&json!("suppressed by r1")));
    assert_eq!(json.pointer("/items/0/old/severity"), Some(&json!("high")));
    assert_eq!((json.pointer("/items/0/new"), exit), (Some(&Value::Null), Exit::Fine));
}

#[test]
fn files_with_and_without_fingerprints_compare() {
    let mut with = finding("b", "web-9", 1, "high", "open");
    // The fingerprint that an agent writes for this port: see `fingerprint` of the report.
    let pod = serde_json::from_value(with["pod"].clone()).expect("a pod");
    let place = portolan_report::fingerprint::Place::Pod { pod: &pod, container: "app", node: "b" };
    let subject = portolan_report::fingerprint::Subject::Port { protocol: "TCP", port: 1 };
    with["fingerprint"] = json!(portolan_report::fingerprint::fingerprint(place, subject));
    let without = finding("a", "web-1", 1, "high", "open");
    assert_eq!(kinds(&list(&[without], &[]), &list(&[with], &[])), []);
}

#[test]
fn the_agents_lines_are_read_and_the_last_of_an_id_counts() {
    let lines = [
        json!({"kind": "AgentStatus", "node": "a"}),
        finding("a", "web-1", 1, "low", "open"),
        finding("a", "web-1", 2, "low", "open"),
        finding("a", "web-1", 1, "low", "resolved"),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let new = Snapshot::parse(&text, None).expect("a stream");
    assert_eq!(kinds(&list(&[], &[]), &new), [(2, Kind::New)]);
    let other = Snapshot::parse(&text, Some("elsewhere")).expect("a stream");
    assert_eq!(kinds(&list(&[], &[]), &other), []);
}

#[test]
fn findings_without_a_kind_are_those_of_an_older_scan() {
    let with = finding("a", "web-1", 1, "high", "open");
    let mut without = with.clone();
    without.as_object_mut().expect("an object").remove("kind");
    assert_eq!(kinds(&list(&[without.clone()], &[]), &list(&[with], &[])), []);
    assert_eq!(kinds(&list(&[], &[]), &list(&[without], &[])), [(1, Kind::New)]);
}

#[test]
fn clusters_are_told_apart_and_different_ones_are_said() {
    let of = |cluster: &str, port: u16| {
        let mut finding = finding("a", "web-1", port, "high", "open");
        finding["cluster"] = json!(cluster);
        finding
    };
    // The same node, pod and port in two clusters of one file.
    let both = list(&[of("east", 1), of("west", 1)], &[]);
    assert_eq!(kinds(&list(&[of("east", 1)], &[]), &both), [(1, Kind::New)]);
    let (old, new) = (list(&[of("east", 1)], &[]), list(&[of("west", 1), of("west", 2)], &[]));
    assert_eq!(kinds(&old, &new), [(2, Kind::New)]);
    let (_, messages, _) = shown(&old, &new, DiffFormat::Table);
    assert_eq!(messages, "OLD and NEW are of different clusters: east and west\n");
    let (_, messages, _) = shown(&list(&[], &[]), &new, DiffFormat::Table);
    assert_eq!(messages, "");
    let unnamed = list(&[finding("a", "web-1", 1, "high", "open")], &[]);
    assert_eq!(kinds(&unnamed, &old), []);
}

#[test]
fn storms_of_netns_without_a_pod_are_told_apart_by_their_ids() {
    let storm = |id: &str| {
        let mut storm = finding("a", "gone", 1, "medium", "open");
        storm["id"] = json!(id);
        for field in ["pod", "container", "protocol", "port"] {
            storm[field] = Value::Null;
        }
        storm
    };
    let (one, both) = (list(&[storm("1")], &[]), list(&[storm("1"), storm("2")], &[]));
    assert_eq!(between(&one, &one).len(), 0);
    assert_eq!(between(&one, &both).len(), 1);
    // The fingerprint that an agent gives the finding of the first: the file of an older agent has none.
    let mut with = storm("1");
    with["code"] = json!("unattributed");
    let mut without = with.clone();
    let subject = Subject::Pod { code: "unattributed", about: "1" };
    with["fingerprint"] = json!(fingerprint(Place::Netns { node: "a", netns: "", process: "" }, subject));
    without["fingerprint"] = json!("");
    assert_eq!(between(&list(&[without], &[]), &list(&[with], &[])).len(), 0);
}

#[test]
fn other_files_are_refused() {
    let refused = |text: &str| Snapshot::parse(text, None).expect_err("no findings");
    assert_eq!(refused(" \n"), SnapshotError::Empty);
    assert!(matches!(refused("{\"items\": ["), SnapshotError::NotJson(_)));
    assert!(matches!(refused("[{\"kind\": \"Listener\"}]"), SnapshotError::OtherKind(_)));
    assert!(matches!(refused("{\"a\": 1}"), SnapshotError::OtherKind(_)));
    assert!(matches!(refused("[{\"listener\": 1}]"), SnapshotError::NotAFinding(_)));
    assert!(matches!(refused("[{\"kind\": \"Finding\"}]"), SnapshotError::NotAFinding(_)));
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let mut hostile = finding("a", "web-1", 1, "high", "open");
    hostile["pod"]["workload"]["name"] = json!("\u{1b}[2J\nweb");
    let (table, ..) = shown(&list(&[], &["\u{1b}"]), &list(&[hostile], &[]), DiffFormat::Table);
    assert!(!table.contains('\u{1b}'), "{table:?}");
    assert_eq!(table.lines().collect::<BTreeSet<_>>().len(), 2);
}
