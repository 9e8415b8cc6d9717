//! Checks alerts and dashboard: every expression uses metrics and labels that the agent has, alerts fire when they should,
//! and every alert has a runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use portolan::sink::metrics::{
    ConnectionLabels, FindingLabels, KindLabel, ListenerLabels, MapLabel, Metrics, ReasonLabel,
    RequestLabels, SourceLabel,
};
use portolan_ebpf::abi::lost::LostSlot;
use portolan_engine::model::finding_code::Severity;
use portolan_testing::scratch::Scratch;
use portolan_testing::tools;
use serde_json::Value;

use crate::Case;
use crate::helm::{NAMESPACE, read, template_set};
use crate::objects::{items, keys};

pub const CASES: &[Case] = &[
    ("alerts ask for metrics and labels that the agent has", alerts),
    ("the dashboard asks for metrics and labels that the agent has", dashboard),
    ("every alert says what happened and what to do", runbooks),
    ("alerts can be left out, and get the labels of the operator", switches),
    ("Prometheus accepts the alerts, and they fire when they should", promtool),
];

/// Metrics of other programs, with their labels.
const FOREIGN: [(&str, &[&str]); 2] =
    [("up", &["job"]), ("kube_daemonset_status_number_unavailable", &["namespace", "daemonset"])];
/// Labels that Prometheus adds to each metric of the agent.
const OF_TARGETS: [&str; 5] = ["node", "pod", "job", "instance", "container"];

/// Returns the agent's metrics with the names of their labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new("0", String::new());
    let namespace = "n".to_owned();
    metrics.set_findings([(FindingLabels { code: "c", severity: "s", namespace }, 1)]);
    metrics.set_listeners([(ListenerLabels { protocol: "TCP", declaration: "declared" }, 1)]);
    metrics.connections.get_or_create(&ConnectionLabels { declaration: "d", origin: "o" }).inc();
    metrics.kernel_events.get_or_create(&KindLabel { kind: "k" }).inc();
    metrics.lost.get_or_create(&ReasonLabel { reason: "r" }).inc();
    metrics.map_entries.get_or_create(&MapLabel { map: "m" }).set(1);
    metrics.map_capacity.get_or_create(&MapLabel { map: "m" }).set(1);
    metrics.source_up.get_or_create(&SourceLabel { source: "s" }).set(1);
    metrics.http_requests.get_or_create(&RequestLabels { route: "/", status: 200 }).inc();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in metrics.encode().lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        found.entry(name.to_owned()).or_default().extend(labels.map(|(name, _)| name.to_owned()));
    }
    for (name, labels) in FOREIGN {
        found.insert(name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect());
    }
    found
}

/// Returns the metrics of an expression, each with its matchers `(label, value)`.
fn selectors(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if word.starts_with("portolan_") || FOREIGN.iter().any(|(name, _)| *name == word) {
            let inside = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (matchers, behind) = inside.unwrap_or(("", after));
            rest = behind;
            let matchers = matchers.split(',').filter_map(|matcher| {
                let (label, value) = matcher.split_once('=')?;
                let value = value.trim_start_matches('~').trim_matches('"');
                Some((label.trim_end_matches('!').trim().to_owned(), value.to_owned()))
            });
            found.push((word.to_owned(), matchers.collect()));
        }
    }
    found
}

fn check(what: &str, expression: &str, metrics: &BTreeMap<String, BTreeSet<String>>) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{what}: {expression}");
    for (metric, matchers) in selectors {
        let labels = metrics.get(&metric).unwrap_or_else(|| panic!("{what}: no metric {metric}"));
        for (label, value) in matchers {
            let is_known = labels.contains(&label) || OF_TARGETS.contains(&label.as_str());
            assert!(is_known, "{what}: {metric} has no label {label}");
            for value in value.split('|').filter(|value| !value.starts_with('$')) {
                check_value(what, &label, value);
            }
        }
    }
}

fn check_value(what: &str, label: &str, value: &str) {
    let is_known = match label {
        "severity" => Severity::ALL.iter().any(|severity| severity.as_str() == value),
        "reason" => LostSlot::ALL.iter().any(|slot| slot.reason() == value),
        _ => true,
    };
    assert!(is_known, "{what}: {label} is never {value}");
}

fn rules() -> Vec<Value> {
    let objects = template_set(&["prometheusRule.enabled=true"]).expect("renders");
    items(&objects.the("PrometheusRule")["spec"]["groups"][0]["rules"]).to_vec()
}

fn alerts() {
    let metrics = metrics();
    let rules = rules();
    assert!(rules.len() >= 8);
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        check(name, rule["expr"].as_str().expect("an expression"), &metrics);
        assert!(!rule.to_string().contains('@'), "{name}: a place that the chart did not fill");
    }
    let job = rules.iter().find(|rule| rule["alert"] == "PortolanAgentDown").expect("one");
    let expected = format!("up{{job=\"{NAMESPACE}/ptl-portolan\"}} == 0");
    assert_eq!(job["expr"], expected, "as the PodMonitor names it");
}

fn dashboard() {
    let metrics = metrics();
    let objects = template_set(&["dashboard.enabled=true"]).expect("renders");
    let map = objects.of_kind("ConfigMap").find(|map| !map["data"]["portolan.json"].is_null()).expect("one");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["portolan.json"].as_str().expect("a file");
    let board: Value = serde_json::from_str(text).expect("JSON");
    let mut ids = BTreeSet::new();
    for panel in items(&board["panels"]) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: an id twice");
        for target in items(&panel["targets"]) {
            check(title, target["expr"].as_str().expect("an expression"), &metrics);
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    for variable in items(&board["templating"]["list"]).iter().filter(|variable| variable["type"] == "query")
    {
        check("a variable", variable["definition"].as_str().expect("a query"), &metrics);
    }
}

fn runbooks() {
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name");
        for annotation in ["summary", "description", "runbook"] {
            let text = rule["annotations"][annotation].as_str().unwrap_or_default();
            assert!(text.len() > 20, "{name}: {annotation}");
        }
        assert!(
            ["critical", "warning"].contains(&rule["labels"]["severity"].as_str().expect("one")),
            "{name}"
        );
        assert!(rule["for"].is_string(), "{name}");
        let heading = format!("### {name}\n");
        let operations = std::fs::read_to_string(crate::helm::chart().join("../../docs/operations.md"));
        assert!(operations.expect("docs/operations.md").contains(&heading), "docs/operations.md: {heading}");
    }
}

fn switches() {
    let settings = [
        "prometheusRule.enabled=true",
        "prometheusRule.disabled={PortolanHighFinding}",
        "prometheusRule.alertLabels.severity=page",
        "prometheusRule.job=mine",
    ];
    let objects = template_set(&settings).expect("renders");
    let rules = items(&objects.the("PrometheusRule")["spec"]["groups"][0]["rules"]);
    assert!(rules.iter().all(|rule| rule["alert"] != "PortolanHighFinding"));
    assert!(
        rules.iter().all(|rule| rule["labels"]["severity"] == "page" && keys(&rule["labels"]).len() == 1)
    );
    assert!(rules.iter().any(|rule| rule["expr"] == "up{job=\"mine\"} == 0"));
    assert!(!template_set(&[]).expect("renders").has("PrometheusRule"));
}

fn promtool() {
    let tool = tools::program("promtool").expect("promtool: run `cargo xtask setup --tests`");
    let scratch = Scratch::new("chart-alerts");
    let objects = template_set(&["prometheusRule.enabled=true"]).expect("renders");
    let spec = objects.the("PrometheusRule")["spec"].to_string();
    let _ = scratch.write("rules.yaml", &spec);
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/alerts.yaml");
    std::fs::copy(&cases, scratch.path("cases.yaml")).expect("a file");
    let run = |words: &[&str]| {
        let mut command = Command::new(&tool);
        let output = command.args(words).current_dir(scratch.directory()).output().expect("promtool runs");
        let streams = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
        (output.status.success(), streams.concat())
    };
    for (fine, text) in [run(&["check", "rules", "rules.yaml"]), run(&["test", "rules", "cases.yaml"])] {
        assert!(fine, "{text}");
    }
    // For every alert there is a case in which it fires.
    let cases = std::fs::read_to_string(&cases).expect("the cases");
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name");
        assert!(
            cases.contains(&format!("{{alertname=\"{name}\", alertstate=\"firing\", severity")),
            "{name} has no case"
        );
    }
    assert!(read("alerts/portolan.yaml").contains("@JOB@"));
}
