//! Ports that are served and have no finding any more, and declared ports that are only counted.

use super::*;

/// Returns the chart of a node where a finding was resolved and the port is served, and declared now.
fn declared_since(node: &str, declared_limit: usize) -> Chart {
    let mut fold = ChartFold::new(node, NOW);
    let mut resolved = of_replica(node, "high", "undeclared-active");
    resolved.state = "resolved".to_owned();
    node.clone_into(&mut resolved.envelope.node);
    fold.add_finding(&resolved);
    let mut listener = declared(9229, "node");
    listener.fingerprint = "web-9229".to_owned();
    listener.pod = Some(pod(node, "web"));
    node.clone_into(&mut listener.envelope.node);
    fold.add_listener(&listener);
    fold.finish(declared_limit, |_| true)
}

#[test]
fn a_port_whose_finding_was_resolved_is_a_declared_one_for_a_filter_without_resolved_rows() {
    let is_open = |row: &ChartRow| row.state == "open";
    let (n1, n2) = (declared_since("n1", 64), declared_since("n2", 64));
    let both = only(n1.clone());
    assert_eq!((both.state.as_str(), both.served.is_some(), n1.totals.declared), ("resolved", true, 1));
    let merged = merge(vec![n1, n2], 64);
    let mut open = merged.clone();
    narrow(&mut open, 64, is_open);
    assert_eq!((open.totals.declared, open.declared.len()), (1, 0));
    let row = only(open);
    assert_eq!((row.code.as_deref(), row.pods, row.nodes.len(), row.served), (None, 2, 2, None));
    let mut counted = merged.clone();
    narrow(&mut counted, 0, is_open);
    assert_eq!((counted.rows.len(), counted.totals.declared, counted.declared.len()), (0, 1, 1));
    let mut ended = merged;
    narrow(&mut ended, 64, |row| row.state == "resolved");
    assert_eq!(ended.totals.declared, 0);
    let row = only(ended);
    assert_eq!((row.state.as_str(), row.pods, row.served), ("resolved", 2, None));
}

#[test]
fn a_served_port_beside_a_resolved_finding_is_counted_where_declared_ports_are() {
    let counted = declared_since("n1", 0);
    assert_eq!((counted.totals.declared, counted.declared.len()), (1, 1));
    assert_eq!(only(counted.clone()).served, None);
    let merged = merge(vec![counted, declared_since("n2", 64)], 64);
    assert_eq!((merged.totals.declared, merged.declared.len()), (1, 1));
    assert_eq!(only(merged).served, None);
}

#[test]
fn counted_ports_are_narrowed_by_what_is_known_of_them() {
    let mut chart = declared_since("n1", 0);
    narrow_declared(&mut chart, |ports| ports.namespace.as_deref() == Some("shop"));
    assert_eq!((chart.totals.declared, chart.declared.len()), (1, 1));
    narrow_declared(&mut chart, |_| false);
    narrow(&mut chart, 64, |_| true);
    assert_eq!((chart.totals.declared, chart.declared.len()), (0, 0));
}

#[test]
fn a_port_whose_opening_is_unknown_was_first_seen_at_the_start_of_the_agent() {
    let first_seen = |started_at: &str| {
        let header =
            ChartHeader { time: NOW.to_owned(), started_at: started_at.to_owned(), ..ChartHeader::default() };
        let mut fold = ChartFold::with_header(header);
        let mut older = declared(80, "x");
        (older.opened_at, older.traffic.since) = (None, None);
        fold.add_listener(&older);
        only(fold.finish(64, |_| true)).first_seen
    };
    assert_eq!(first_seen("2026-03-04T09:00:00.000Z"), "2026-03-04T09:00:00.000Z");
    assert_eq!(first_seen(""), NOW, "an agent that does not tell its start");
}
