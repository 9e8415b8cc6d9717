//! Tests of the table of workloads: rows, counts and sums.

use super::*;
use crate::test_objects::finding;
use crate::wire::Workload;

/// Returns the finding of a pod of the Deployment `web`.
fn of_pod(name: &str, node: &str, severity: &str, code: &str) -> Finding {
    let mut finding = finding(9090, severity, "python3");
    finding.id = name.to_owned();
    finding.fingerprint = "f".to_owned();
    finding.code = code.to_owned();
    finding.envelope.node = node.to_owned();
    if let Some(pod) = &mut finding.pod {
        pod.name = name.to_owned();
        pod.workload = Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() });
    }
    finding
}

fn shown(list: &[Finding], total: usize, width: Width) -> String {
    let totals = PodTotals::from([("shop/deployment/web".to_owned(), total)]);
    findings(list, &totals, width, Colour::Plain)
}

fn row(text: &str) -> Vec<&str> {
    let row = text.lines().nth(1).expect("a row");
    row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn the_pods_of_a_workload_are_one_row_with_the_worst_code_and_the_sums() {
    let pods = [
        of_pod("web-1", "n1", "medium", "undeclared-reachable"),
        of_pod("web-2", "n2", "high", "undeclared-active"),
        of_pod("web-3", "n2", "medium", "undeclared-reachable"),
    ];
    let text = shown(&pods, 50, Width::Cluster);
    assert_eq!(text.lines().count(), 2, "{text}");
    let then = [
        "high",
        "undeclared-active",
        "shop/deployment/web",
        "3 of 50",
        "9090/TCP",
        "python3",
        "9 conns 8.7KiB",
        "shop/curler +1",
        "30s",
        "2 nodes",
    ];
    assert_eq!(row(&text), then);
}

#[test]
fn a_rollout_adds_no_row() {
    let before: Vec<Finding> =
        (0..50).map(|n| of_pod(&format!("web-a-{n}"), "n1", "high", "undeclared-active")).collect();
    let after: Vec<Finding> =
        (0..50).map(|n| of_pod(&format!("web-b-{n}"), "n2", "high", "undeclared-active")).collect();
    let both: Vec<Finding> = before.iter().chain(&after).cloned().collect();
    for (list, count) in [(&before, "50 of 50"), (&after, "50 of 50"), (&both, "100")] {
        let text = shown(list, 50, Width::Narrow);
        assert_eq!((text.lines().count(), row(&text).get(3)), (2, Some(&count)), "{text}");
    }
}

#[test]
fn the_static_pods_of_a_manifest_are_counted_together() {
    let nodes = ["n1", "n2", "n3"];
    let of_node = |node: &str, state: &str| {
        let mut finding = of_pod(&format!("etcd-{node}"), node, "high", "undeclared-active");
        finding.state = state.to_owned();
        if let Some(pod) = &mut finding.pod {
            pod.workload = Some(Workload { kind: "Node".to_owned(), name: node.to_owned() });
        }
        finding
    };
    let all: Vec<Finding> = nodes.iter().map(|node| of_node(node, "open")).collect();
    let totals = pod_totals(all.iter().filter_map(|it| Some((it.pod.as_ref()?, it.envelope.node.as_str()))));
    for (count, list) in [
        ("3 of 3", all.clone()),
        ("1 of 3", vec![of_node("n2", "open")]),
        ("1", vec![of_node("n2", "resolved")]),
    ] {
        let text = findings(&list, &totals, Width::Narrow, Colour::Plain);
        assert_eq!((text.lines().count(), row(&text).get(3)), (2, Some(&count)), "{text}");
    }
}

#[test]
fn other_ports_other_states_and_old_agents_have_rows_of_their_own() {
    let one = of_pod("web-1", "n1", "high", "undeclared-active");
    let other_port = Finding { fingerprint: "g".to_owned(), ..one.clone() };
    let suppressed = Finding { state: "suppressed".to_owned(), ..one.clone() };
    let old = |id: &str| Finding { fingerprint: String::new(), id: id.to_owned(), ..one.clone() };
    let text = shown(&[one.clone(), other_port, suppressed, old("1"), old("2")], 1, Width::Narrow);
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn a_pod_without_a_workload_is_named_as_before() {
    let mut alone = finding(9090, "high", "python3");
    alone.fingerprint = "f".to_owned();
    let text = findings(&[alone], &PodTotals::new(), Width::Narrow, Colour::Plain);
    assert_eq!(row(&text).get(2..4), Some(["shop/multi-port-app", "1"].as_slice()), "{text}");
}
