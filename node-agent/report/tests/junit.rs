//! The JUnit report, read back with an XML parser that refuses what XML 1.0 forbids.
#![expect(clippy::expect_used, reason = "a test fails with the reason")]

use portolan_engine::model::finding_code::Severity;
use portolan_report::junit::{Asked, findings};
use portolan_report::wire::Finding;
use proptest::prelude::{TestCaseError, any, prop_assert_eq, proptest};
use roxmltree::{Document, Node};
use serde_json::{Value, json};

/// Builds a finding of a pod of the deployment `shop/web`.
fn finding(pod: &str, port: u16, severity: &str, state: &str) -> Value {
    let listener = json!({
        "schema": "portolan/v1", "node": "a", "time": "t", "id": "l", "protocol": "TCP", "port": port,
        "addresses": [], "v6Only": false, "sockets": 1, "netns": {"inode": 1, "name": null}, "process": null,
        "openedAt": null, "state": "open", "container": null, "pod": null,
        "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []},
        "traffic": traffic(),
    });
    let suppressed_by = (state == "suppressed").then(|| json!({"rule": "r1", "reason": "agreed"}));
    json!({
        "schema": "portolan/v1", "node": "a", "time": "t", "id": format!("{pod}-{port}"),
        "fingerprint": format!("f{port}"), "state": state, "code": "undeclared-active", "severity": severity,
        "message": "port is open", "firstSeen": "t", "lastSeen": "t",
        "pod": {"namespace": "shop", "name": pod, "uid": pod, "hostNetwork": false,
                "workload": {"kind": "Deployment", "name": "web"}},
        "container": {"name": "app", "id": "c", "image": "web:1"}, "protocol": "TCP", "port": port,
        "listener": listener, "declaration": {"status": "undeclared", "declaredBy": [], "explainedBy": []},
        "exposure": "pod", "policy": {"verdict": "open", "policies": []}, "traffic": traffic(),
        "suppressedBy": suppressed_by,
    })
}

fn traffic() -> Value {
    json!({"since": null, "attempts": 0, "connections": 0, "packets": 0, "bytes": 0, "lastSeen": null,
           "peers": [], "truncated": false})
}

/// Returns the report of these findings.
fn report(items: Vec<Value>, asked: &[Asked], fail_on: Option<Severity>) -> String {
    let items: Vec<Finding> =
        items.into_iter().map(|item| serde_json::from_value(item).expect("a finding")).collect();
    findings(&items, asked, fail_on).expect("written to memory")
}

fn asked(name: &str, missing: Option<&str>) -> Asked {
    Asked { name: name.to_owned(), missing: missing.map(str::to_owned) }
}

/// Returns name and result of each test case.
fn results<'a>(document: &'a Document<'_>) -> Vec<(&'a str, &'a str)> {
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let result =
        |case: Node<'a, '_>| case.first_element_child().map_or("passed", |child| child.tag_name().name());
    cases.map(|case| (case.attribute("name").expect("a name"), result(case))).collect()
}

/// Returns an attribute of the first element with this name.
fn attribute<'a>(document: &'a Document<'_>, element: &str, name: &str) -> &'a str {
    let found = document.descendants().find(|node| node.has_tag_name(element)).expect("the element");
    found.attribute(name).expect("the attribute")
}

#[test]
fn a_port_of_several_pods_is_one_case() {
    let items = vec![
        finding("web-1", 9090, "low", "open"),
        finding("web-2", 9090, "high", "open"),
        finding("web-1", 80, "low", "open"),
        finding("web-1", 7, "high", "suppressed"),
    ];
    let text = report(items, &[asked("node a", None)], Some(Severity::Medium));
    let document = Document::parse(&text).expect("XML");
    assert_eq!(
        results(&document),
        [
            ("node a", "passed"),
            ("app:7/TCP", "skipped"),
            ("app:80/TCP", "passed"),
            ("app:9090/TCP", "failure")
        ]
    );
    for (name, then) in [("tests", "4"), ("failures", "1"), ("skipped", "1"), ("errors", "0")] {
        assert_eq!(attribute(&document, "testsuite", name), then, "{name}");
    }
    assert_eq!(attribute(&document, "failure", "type"), "undeclared-active");
    assert_eq!(attribute(&document, "failure", "message"), "port is open");
    assert_eq!(attribute(&document, "skipped", "message"), "agreed (r1)");
    assert!(text.contains("classname=\"shop.Deployment/web\""), "{text}");
    assert!(text.contains("pod shop/web-1\n") && text.contains("pod shop/web-2\n"), "{text}");
}

#[test]
fn ports_of_different_network_namespaces_are_cases_of_different_classes() {
    let of = |netns: Value| {
        let mut finding = finding("web-1", 9090, "low", "open");
        (finding["pod"], finding["container"], finding["id"]) = (Value::Null, Value::Null, netns.clone());
        (finding["fingerprint"], finding["listener"]["netns"]["name"]) = (json!(""), netns);
        finding
    };
    let text = report(vec![of(json!("a")), of(json!("b"))], &[], None);
    let document = Document::parse(&text).expect("XML");
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let classes: Vec<_> = cases.filter_map(|case| case.attribute("classname")).collect();
    assert_eq!(classes, ["node.a.netns/a", "node.a.netns/b"]);
}

#[test]
fn every_open_finding_fails_without_fail_on() {
    let items = vec![finding("web-1", 1, "info", "open"), finding("web-1", 2, "critical", "resolved")];
    let text = report(items, &[], None);
    let document = Document::parse(&text).expect("XML");
    assert_eq!(results(&document), [("app:1/TCP", "failure"), ("app:2/TCP", "passed")]);
}

#[test]
fn a_run_without_findings_has_its_agents_and_a_missing_one_is_an_error() {
    let text = report(Vec::new(), &[asked("node a", None), asked("node b", Some("no answer"))], None);
    let document = Document::parse(&text).expect("XML");
    assert_eq!(results(&document), [("node a", "passed"), ("node b", "error")]);
    assert_eq!(attribute(&document, "testsuites", "tests"), "2");
    assert_eq!(attribute(&document, "testsuites", "failures"), "0");
    assert_eq!(attribute(&document, "testsuites", "errors"), "1");
    assert_eq!(attribute(&document, "error", "message"), "no answer");
}

proptest! {
    /// Pods choose names and messages: whatever they are, the report is well-formed, and has no more cases than ports.
    #[test]
    fn hostile_text_stays_text(text in any::<String>(), extra in "[\u{0}-\u{1f}<>&\"'\u{7f}-\u{9f}\u{fffe}\u{ffff}\u{202e}\\]]{0,40}") {
        let text = text + &extra + "]]><testcase/>";
        let mut hostile = finding(&text, 1, "high", "open");
        for pointer in ["/message", "/code", "/container/name", "/pod/namespace", "/pod/workload/name"] {
            *hostile.pointer_mut(pointer).expect("the field") = json!(text);
        }
        let mut suppressed = finding(&text, 2, "high", "suppressed");
        suppressed["suppressedBy"]["reason"] = json!(text);
        let report = report(vec![hostile, suppressed], &[asked(&text, Some(&text))], None);
        let document = Document::parse(&report).map_err(|error| TestCaseError::fail(format!("{error}: {report:?}")))?;
        prop_assert_eq!(document.descendants().filter(|node| node.has_tag_name("testcase")).count(), 3);
    }
}

#[test]
fn findings_without_a_port_number_are_told_apart_by_the_services_reference() {
    let of_service = |reference: &str| {
        let mut finding = finding("web-1", 1, "medium", "open");
        finding["port"] = Value::Null;
        finding["protocol"] = Value::Null;
        finding["listener"] = Value::Null;
        finding["fingerprint"] = json!(reference);
        finding["id"] = json!(reference);
        finding["code"] = json!("dangling-port");
        finding["declaration"]["explainedBy"] =
            json!([{"source": "service", "ref": reference, "audience": "pods"}]);
        finding
    };
    let text = report(vec![of_service("shop/web:http"), of_service("shop/web-internal:http")], &[], None);
    let document = Document::parse(&text).expect("XML");
    let names: Vec<&str> = results(&document).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["app:dangling-port shop/web-internal:http", "app:dangling-port shop/web:http"]);
}
