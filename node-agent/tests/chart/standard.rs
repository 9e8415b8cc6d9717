//! Checks the chart with helm's strict lint, and with the strict schemas of every version of Kubernetes that it supports.

use std::io::Write;
use std::process::{Command, Stdio};

use portolan_testing::tools;
use serde_json::{Value, json};

use crate::Case;
use crate::helm::{all, chart, read, run, template, template_file, values_files};
use crate::objects::{items, keys};

pub const CASES: &[Case] = &[
    ("helm lint --strict finds nothing with any values file", lint),
    ("every object is valid for Kubernetes 1.29 to 1.37", valid),
    ("objects of other kinds have the structure of their definitions", other_kinds),
    ("every object carries the standard labels, and selectors stay as they are", labels),
    ("a name that is too long is cut or refused", names),
    ("the notes say how to read findings and what PodSecurity must allow", notes),
    ("a parent chart may use the chart", as_subchart),
    ("the chart's version is the agent's", version),
];

/// Versions of Kubernetes that the chart is checked against.
const VERSIONS: [&str; 9] =
    ["1.29.0", "1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0"];
/// Kinds without a schema in Kubernetes itself.
const OTHER_KINDS: [&str; 3] = ["PodMonitor", "PrometheusRule", "SecurityContextConstraints"];
/// Reads `[{case, version, object}]` on stdin, prints one line for each that is not valid.
const VALIDATE: &str = "
import json, sys
import kubernetes_validate
for entry in json.load(sys.stdin):
    try:
        used = kubernetes_validate.validate(entry['object'], entry['version'], strict=True)
        if not used.startswith(entry['version'].rsplit('.', 1)[0]):
            print(entry['version'], 'has no schema: the newest is', used)
    except Exception as error:
        object = entry['object']
        path = '.'.join(str(step) for step in getattr(error, 'path', []))
        message = str(getattr(error, 'message', repr(error)))[:300]
        print(entry['case'], entry['version'], object['kind'], path, message)
";

fn lint() {
    for (name, file) in values_files() {
        let (chart, file) = (chart(), file.display().to_string());
        let output = run(&["lint", "--strict", &chart.display().to_string(), "--values", &file]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("[WARNING]") && !text.contains("[ERROR]"), "{name}: {text}");
    }
}

fn invalid(entries: &[Value]) -> String {
    let mut child = Command::new("python3")
        .args(["-c", VALIDATE])
        .env("PYTHONPATH", tools::directory().join("kubernetes-validate"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let text = serde_json::to_vec(entries).expect("JSON");
    child.stdin.take().expect("a pipe").write_all(&text).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "kubernetes-validate: run `cargo xtask setup --tests`");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn valid() {
    let mut entries = Vec::new();
    for (case, file) in values_files() {
        for version in VERSIONS {
            let objects = template_file(&file, &["--kube-version", version]).0;
            let known = objects.into_iter().filter(|o| !OTHER_KINDS.contains(&o["kind"].as_str().unwrap()));
            entries.extend(known.map(|object| json!({ "case": case, "version": version, "object": object })));
        }
    }
    assert!(entries.len() > 300, "{}", entries.len());
    assert_eq!(invalid(&entries), "");
    // The check itself must be able to fail.
    let mut wrong = entries.iter().find(|e| e["object"]["kind"] == "DaemonSet").expect("one").clone();
    wrong["object"]["spec"]["template"]["spec"]["hostPIDs"] = json!(true);
    assert!(invalid(&[wrong]).contains("hostPIDs"));
}

fn only(object: &Value, allowed: &[&str], what: &str) {
    for key in keys(object) {
        assert!(allowed.contains(&key), "{what}: {key}");
    }
}

fn other_kinds() {
    let (_, file) = values_files().into_iter().find(|(name, _)| name == "full").expect("full");
    let objects = template_file(&file, &[]);
    let monitor = objects.the("PodMonitor");
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    only(&monitor["spec"], &["selector", "namespaceSelector", "podMetricsEndpoints"], "PodMonitor");
    let labels = &objects.the("DaemonSet")["spec"]["template"]["metadata"]["labels"];
    for (name, value) in monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&labels[name], value, "{name}");
    }
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let fields =
        ["port", "path", "interval", "scrapeTimeout", "honorLabels", "relabelings", "metricRelabelings"];
    only(endpoint, &fields, "podMetricsEndpoints");
    assert_eq!(
        endpoint["honorLabels"], true,
        "the namespace of a finding must not become exported_namespace"
    );
    let port = endpoint["port"].as_str().expect("a name");
    assert!(items(&objects.agent()["ports"]).iter().any(|p| p["name"] == port), "{port}");

    let rule = objects.the("PrometheusRule");
    only(&rule["spec"], &["groups"], "PrometheusRule");
    for alert in items(&rule["spec"]["groups"][0]["rules"]) {
        only(alert, &["alert", "expr", "for", "labels", "annotations"], "rule");
    }
    for (kind, name) in [("PodMonitor", "release"), ("PrometheusRule", "release"), ("DaemonSet", "team")] {
        assert!(objects.the(kind)["metadata"]["labels"][name].is_string(), "{kind} {name}");
    }
}

fn labels() {
    for (name, objects) in all() {
        for object in &objects.0 {
            let labels = &object["metadata"]["labels"];
            for label in ["name", "instance", "component", "version", "managed-by", "part-of"] {
                let label = format!("app.kubernetes.io/{label}");
                assert!(labels[&label].is_string(), "{name} {}: {label}", object["kind"]);
            }
            assert!(labels["helm.sh/chart"].is_string(), "{name} {}", object["kind"]);
        }
        // A DaemonSet's selector is immutable: it must not contain the version of a release.
        let selector = &objects.the("DaemonSet")["spec"]["selector"]["matchLabels"];
        let fixed = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"];
        let mut found = keys(selector);
        found.sort_unstable();
        assert_eq!(found, fixed, "{name}");
        for pod in objects.of_kind("Pod") {
            let component = &pod["metadata"]["labels"]["app.kubernetes.io/component"];
            assert_eq!(component, "doctor", "{name}: else the DaemonSet would adopt it");
        }
    }
}

fn names() {
    let long = "a".repeat(60);
    let refused = template(&["--set", &format!("fullnameOverride={long}")]).err().expect("too long");
    assert!(refused.contains("/fullnameOverride"), "{refused}");
    let objects = template(&["--set", &format!("nameOverride={long}")]).expect("renders");
    for object in &objects.0 {
        let name = object["metadata"]["name"].as_str().expect("a name");
        assert!(name.len() <= 63 && name.starts_with("ptl-aaa"), "{name}");
    }
}

fn notes() {
    let notes = |words: &[&str]| {
        let chart = chart().display().to_string();
        let mut all = vec!["install", "ptl", &chart, "--namespace", "sec", "--dry-run=client"];
        all.extend(words);
        let output = run(&all);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = notes(&[]);
    for part in [
        "kubectl label namespace sec pod-security.kubernetes.io/enforce=privileged",
        "kubectl -n sec exec daemonset/ptl-portolan -- /portolan findings",
        "port-forward daemonset/ptl-portolan 9470",
        "set `privileged: true`",
        "helm test ptl -n sec",
        "portolan baseline",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("Warning:"), "{text}");
    assert!(!notes(&["--set", "agent.api.enabled=false"]).contains("port-forward"));
    assert!(notes(&["--set", "prometheusRule.enabled=true"]).contains("Warning: prometheusRule is on"));
    assert!(notes(&["--set", "privileged=true"]).contains("The agents run privileged, as asked"));
}

fn as_subchart() {
    template(&["--set", "global.region=x,enabled=true"]).expect("values that helm gives to every subchart");
}

fn version() {
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")).expect("YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    let objects = template(&[]).expect("renders");
    let image = objects.agent()["image"].as_str().expect("an image");
    assert_eq!(image, format!("docker.io/library/portolan:{}", env!("CARGO_PKG_VERSION")));
    let refused = template(&["--kube-version", "1.28.0"]).err().expect("too old");
    assert!(refused.contains("incompatible with Kubernetes"), "{refused}");
}
