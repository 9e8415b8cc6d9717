//! Ports without a finding that no manifest declares: those of a port storm, and those that are not judged yet.

use super::*;

fn of_pod(mut listener: Listener, status: &str) -> Listener {
    listener.pod = Some(pod("web-a", "web"));
    listener.fingerprint = format!("web-{}", listener.port);
    status.clone_into(&mut listener.declaration.status);
    listener
}

/// Returns the chart of a node with three declared or explained ports, and so many that are neither.
fn with_undeclared(node: &str, number: u16) -> Chart {
    let mut fold = ChartFold::new(node, NOW);
    for (port, status) in [(80, "declared"), (81, "declared"), (82, "explained")] {
        fold.add_listener(&of_pod(listener(port, "web"), status));
    }
    for port in 0..number {
        let status = if port % 2 == 0 { "undeclared" } else { "unknown" };
        fold.add_listener(&of_pod(listener(10_000 + port, "web"), status));
    }
    fold.finish(64, |_| true)
}

#[test]
fn ports_that_nothing_declares_take_no_room_from_declared_ones() {
    let chart = with_undeclared("n1", 3000);
    assert_eq!((chart.totals.declared, chart.totals.unjudged, chart.totals.listeners), (3, 3000, 3003));
    let ports: Vec<_> = chart.rows.iter().filter_map(|row| row.port).collect();
    assert_eq!((ports, chart.declared.len()), (vec![80, 81, 82], 0));
}

#[test]
fn ports_of_the_node_itself_are_rows_as_no_manifest_could_declare_them() {
    let mut fold = ChartFold::new("n1", NOW);
    let mut of_node = listener(22, "sshd");
    (of_node.pod, of_node.declaration.status) = (None, "unknown".to_owned());
    fold.add_listener(&of_node);
    let chart = fold.finish(64, |_| true);
    assert_eq!((chart.totals.unjudged, only(chart).port), (0, Some(22)));
}

#[test]
fn ports_that_nothing_declares_are_not_counted_among_those_of_a_workload() {
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_listener(&of_pod(listener(80, "web"), "declared"));
    fold.add_listener(&of_pod(listener(81, "web"), "undeclared"));
    let chart = fold.finish(0, |_| true);
    let ports: Vec<_> = chart.declared.iter().map(|ports| ports.ports).collect();
    assert_eq!((ports, chart.totals.declared, chart.totals.unjudged), (vec![1], 1, 1));
}

#[test]
fn a_port_whose_finding_went_into_a_storm_is_not_served_as_a_declared_one() {
    let mut resolved = of_replica("web-a", "high", "undeclared-active");
    resolved.state = "resolved".to_owned();
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&resolved);
    fold.add_listener(&of_pod(listener(9229, "node"), "undeclared"));
    let chart = fold.finish(64, |_| true);
    assert_eq!((chart.totals.declared, chart.totals.unjudged), (0, 1));
    assert_eq!(only(chart).served, None);
}

#[test]
fn merged_and_narrowed_charts_add_up_what_was_not_judged() {
    let mut merged = merge(vec![with_undeclared("n1", 2), with_undeclared("n2", 5)], 64);
    assert_eq!((merged.totals.declared, merged.totals.unjudged), (3, 7));
    assert_eq!(without_rows(&merged).totals.unjudged, 7);
    narrow(&mut merged, 64, |row| row.port == Some(80));
    assert_eq!((merged.totals.declared, merged.totals.unjudged), (1, 7), "rows tell nothing of them");
}

#[test]
fn only_ports_that_match_are_counted() {
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_listener(&of_pod(listener(80, "web"), "undeclared"));
    fold.add_listener(&of_pod(listener(81, "web"), "undeclared"));
    assert_eq!(fold.finish(64, |row| row.port == Some(81)).totals.unjudged, 1);
}
