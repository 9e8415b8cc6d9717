//! Tests of the drafts: which come for which code, what they contain, and what they say where none can be made.

use portolan_report::chart::Remedies;
use serde_json::{Value, json};

use super::*;

/// A finding about port 9229/TCP of Deployment `shop/web`.
fn finding(code: &str) -> Finding {
    let at = "2026-11-30T00:00:00Z";
    let peer = json!({
        "address": "10.1.0.3", "origin": "pod", "ref": "shop/curler", "connections": 1, "packets": 1, "bytes": 1,
        "firstSeen": at, "lastSeen": at,
    });
    let value = json!({
        "schema": "portolan/v1", "node": "node-1", "time": at, "id": "id-1", "state": "open", "code": code, "severity": "high",
        "message": "m", "firstSeen": at, "lastSeen": at,
        "pod": {"namespace": "shop", "name": "web-1", "uid": "u", "workload": {"kind": "Deployment", "name": "web"}, "hostNetwork": false},
        "container": null, "protocol": "TCP", "port": 9229, "listener": null,
        "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []}, "exposure": "pod",
        "policy": {"verdict": "not-isolated", "policies": []},
        "traffic": {"since": at, "attempts": 1, "connections": 1, "packets": 1, "bytes": 1, "lastSeen": at, "peers": [peer], "truncated": false},
        "suppressedBy": null,
    });
    serde_json::from_value(value).expect("a finding")
}

fn port(number: u16, status: &str, exposure: Option<&str>) -> Value {
    let declared_by: &[&str] = if status == "declared" { &["app/http"] } else { &[] };
    json!({
        "protocol": "TCP", "port": number, "name": null, "container": "app", "exposure": exposure, "code": null,
        "declaration": {"status": status, "declaredBy": declared_by, "explainedBy": []},
        "process": {"pid": 1, "name": "server", "executable": null},
        "traffic": {"since": null, "attempts": 0, "connections": 0, "packets": 0, "bytes": 0, "lastSeen": null, "peers": [], "truncated": false},
    })
}

fn basis(ports: &[Value], host_network: bool) -> PolicyBasis {
    let value = json!({
        "schema": "portolan/v1", "node": "node-1", "time": "2026-11-30T00:00:00Z",
        "pods": [{
            "pod": {"namespace": "shop", "name": "web-1", "uid": "u", "workload": {"kind": "Deployment", "name": "web"}, "hostNetwork": host_network},
            "labels": {"app": "web"}, "policies": [],
            "containers": [{"name": "app", "kind": "regular", "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "hostPort": null}]}],
            "ports": ports,
        }],
        "neighbours": [], "callers": [], "truncated": false,
    });
    serde_json::from_value(value).expect("a basis")
}

fn usual() -> PolicyBasis {
    basis(
        &[
            port(8080, "declared", Some("pod")),
            port(9300, "undeclared", Some("pod")),
            port(9400, "undeclared", Some("pod")),
        ],
        false,
    )
}

fn of_9300(code: &str) -> Finding {
    Finding { port: Some(9300), ..finding(code) }
}

fn kinds_of(remedies: &Remedies) -> Vec<&str> {
    remedies.items.iter().map(|remedy| remedy.kind.as_str()).collect()
}

fn of_kind<'a>(remedies: &'a Remedies, kind: &str) -> &'a Remedy {
    remedies.items.iter().find(|remedy| remedy.kind == kind).expect(kind)
}

#[test]
fn the_best_remedy_of_each_code_comes_first() {
    for (code, expected) in [
        ("undeclared-external", &["shut-out", "declare", "accept"][..]),
        ("undeclared-active", &["shut-out", "declare", "accept"]),
        ("undeclared-reachable", &["shut-out", "declare", "accept"]),
        ("ephemeral-container", &["shut-out", "accept"]),
        ("port-storm", &["shut-out", "accept"]),
        ("unattributed", &["shut-out", "accept"]),
        ("opaque-runtime", &["shut-out", "accept"]),
        ("undeclared-host", &["declare", "accept"]),
        ("undeclared-blocked", &["declare", "accept"]),
        ("undeclared-explained", &["declare", "accept", "shut-out"]),
        ("undeclared-loopback", &["accept"]),
        ("stale-declaration", &["declare", "accept"]),
        ("dangling-service-port", &["declare", "accept"]),
        ("of-a-later-version", &["shut-out", "accept"]),
    ] {
        let remedies = remedies(&of_9300(code), Some(&usual()));
        assert_eq!(kinds_of(&remedies), expected, "{code}");
        for remedy in remedies.items {
            assert!(remedy.summary.ends_with('.') && !remedy.summary.contains('\n'), "{}", remedy.summary);
            assert!(!remedy.yaml.is_empty() || !remedy.warnings.is_empty(), "{code}: {remedy:?}");
        }
    }
}

#[test]
fn the_policy_leaves_the_port_out_and_says_whom_it_cuts_off() {
    let remedies = remedies(&of_9300("undeclared-active"), Some(&usual()));
    let policy = of_kind(&remedies, "shut-out");
    let lines: Vec<&str> = policy.yaml.lines().filter(|line| !line.starts_with('#')).collect();
    let rules = lines.join("\n");
    assert!(
        rules.contains("kind: NetworkPolicy") && rules.contains("8080") && !rules.contains("9300"),
        "{rules}"
    );
    assert!(
        policy.warnings.iter().any(|warning| warning.contains("9300: shop/curler")),
        "{:?}",
        policy.warnings
    );
    assert_eq!(policy.command.as_deref(), Some("kubectl apply -f policy.yaml"));
}

#[test]
fn the_patch_declares_the_port_of_the_finding_and_no_other() {
    let remedies = remedies(&of_9300("undeclared-active"), Some(&usual()));
    let patch = of_kind(&remedies, "declare");
    assert!(patch.yaml.contains("containerPort: 9300") && !patch.yaml.contains("9400"), "{}", patch.yaml);
    assert_eq!(
        patch.command.as_deref(),
        Some("kubectl patch deployment web -n shop --patch-file declare.yaml")
    );
}

#[test]
fn a_port_that_cannot_be_declared_has_no_patch_and_the_reason() {
    let loopback = basis(&[port(9300, "undeclared", Some("loopback"))], false);
    let remedies = remedies(&of_9300("undeclared-active"), Some(&loopback));
    let patch = of_kind(&remedies, "declare");
    assert_eq!((patch.yaml.as_str(), patch.command.as_deref()), ("", None));
    assert!(patch.warnings.iter().any(|warning| warning.contains("loopback")), "{:?}", patch.warnings);
}

#[test]
fn a_policy_for_the_nodes_network_is_refused_with_the_reason() {
    let facts = basis(&[port(9300, "undeclared", Some("host"))], true);
    let remedies = remedies(&of_9300("undeclared-reachable"), Some(&facts));
    let policy = of_kind(&remedies, "shut-out");
    assert!(policy.yaml.is_empty() && policy.warnings[0].contains("hostNetwork"), "{:?}", policy.warnings);
}

#[test]
fn without_facts_about_pods_only_the_rule_is_drafted() {
    let remedies = remedies(&of_9300("undeclared-active"), None);
    assert!(of_kind(&remedies, "shut-out").yaml.is_empty() && of_kind(&remedies, "declare").yaml.is_empty());
    assert!(of_kind(&remedies, "accept").yaml.contains("workload: {kind: \"Deployment\", name: \"web\"}"));
}

#[test]
fn the_rule_covers_the_code_and_milder_ones() {
    let remedies = remedies(&of_9300("undeclared-reachable"), Some(&usual()));
    let rule = &of_kind(&remedies, "accept").yaml;
    assert!(rule.starts_with("exceptions:\n- name: ") && rule.contains("port: [9300/TCP]"), "{rule}");
    assert!(
        rule.contains("undeclared-reachable, undeclared-blocked") && !rule.contains("undeclared-active"),
        "{rule}"
    );
}

#[test]
fn nothing_can_be_drafted_for_a_port_of_no_pod() {
    let remedies = remedies(&Finding { pod: None, ..of_9300("unattributed") }, None);
    assert!(remedies.items.iter().all(|remedy| remedy.yaml.is_empty() && !remedy.warnings.is_empty()));
}

#[test]
fn the_declaration_of_a_port_that_nothing_serves_is_removed() {
    let stale = Finding { port: Some(8080), ..finding("stale-declaration") };
    let facts = basis(&[port(8080, "declared", None)], false);
    let removed = remedies(&stale, Some(&facts));
    let patch = of_kind(&removed, "declare");
    let value: Value = serde_saphyr::from_str(&patch.yaml).expect("YAML");
    let container = &value["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["name"], "app");
    assert_eq!(container["ports"], json!([{"$patch": "delete", "containerPort": 8080}]));
    assert_eq!(
        patch.command.as_deref(),
        Some("kubectl patch deployment web -n shop --patch-file remove.yaml")
    );
    let other = remedies(&Finding { port: Some(1), ..stale }, Some(&facts));
    assert!(of_kind(&other, "declare").yaml.is_empty());
}
