//! Tests of a node: rows that are replaced, counts and their times, and what counts as a change.

use portolan_report::chart::RowCounts;

use super::*;

fn row(fingerprint: &str, connections: u64) -> ChartRow {
    ChartRow {
        fingerprint: fingerprint.to_owned(),
        code: Some("undeclared-active".to_owned()),
        severity: Some("high".to_owned()),
        state: "open".to_owned(),
        connections,
        findings: vec![fingerprint.to_owned()],
        minutes: vec![1, 2],
        ..ChartRow::default()
    }
}

fn chart(rows: Vec<ChartRow>) -> Chart {
    let mut chart = Chart { time: "2026-03-04T12:00:30Z".to_owned(), ..Chart::default() };
    chart.totals.open.insert("high".to_owned(), rows.len() as u64);
    (chart.totals.findings, chart.totals.listeners, chart.totals.pods) = (rows.len() as u64, 9, 4);
    chart.totals.unjudged = 2;
    Chart { rows, ..chart }
}

fn node(rows: Vec<ChartRow>) -> Node {
    Node::of_chart("node-1", chart(rows))
}

#[test]
fn rows_that_changed_are_replaced_and_those_that_are_gone_are_not_counted() {
    let mut node = node(vec![row("a", 1), row("b", 2), row("c", 3)]);
    let fingerprints = ["a", "b", "d"].map(str::to_owned).into();
    node.take_rows(&fingerprints, chart(vec![row("a", 10), row("d", 4)]));
    let chart = node.chart().expect("a chart");
    let mut rows: Vec<_> = chart.rows.iter().map(|row| (row.fingerprint.as_str(), row.connections)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [("a", 10), ("c", 3), ("d", 4)]);
    assert_eq!(chart.totals.open, [("high".to_owned(), 3)].into());
    assert_eq!((chart.totals.findings, chart.totals.listeners, chart.totals.pods), (3, 9, 4));
    assert_eq!(chart.totals.unjudged, 2, "of rows that are read again only the findings are new");
    assert_eq!(node.row("d").map(|row| row.nodes.clone()), Some(vec!["node-1".to_owned()]));
}

#[test]
fn a_part_counts_its_own_rows_and_the_ports_and_pods_of_the_node() {
    let node = node(vec![row("a", 1), row("b", 2)]);
    let named = ["b", "unknown"].into();
    let parts = node.rows_where(&named, |_| true).expect("known");
    let others = node.rows_where(&BTreeSet::new(), |row| row.fingerprint == "b");
    assert_eq!(others.as_ref(), Some(&parts));
    assert!(node.rows_where(&named, |_| false).is_some_and(|[rows, _]| rows.rows.is_empty()));
    let merged = merge_at(parts.into(), MAX_ROWS, "2026-03-04T12:00:30Z", |_| true);
    assert_eq!((merged.rows.len(), merged.totals.findings), (1, 1));
    assert_eq!(merged.totals.open, [("high".to_owned(), 1)].into());
    assert_eq!((merged.totals.listeners, merged.totals.pods), (9, 4));
}

#[test]
fn counts_replace_those_of_the_row_and_fill_the_minute() {
    let mut node = node(vec![row("a", 1)]);
    let counts = |fingerprint: &str, connections| RowCounts {
        fingerprint: fingerprint.to_owned(),
        connections,
        ..RowCounts::default()
    };
    let items = vec![counts("a", 6), counts("unknown", 7)];
    let time = "2026-03-04T12:02:01Z".to_owned();
    assert_eq!(node.take_counts(TrafficCounts { time, items, ..TrafficCounts::default() }), ["a"]);
    let row = node.row("a").expect("a row");
    assert_eq!((row.connections, row.minutes.as_slice()), (6, &[1, 2, 0, 5][..]));
}

#[test]
fn counts_older_than_the_row_are_left_out() {
    let mut node = node(vec![row("a", 9), row("b", 9)]);
    node.read_at = "2026-03-04T12:00:30Z".parse().ok();
    let take = |node: &mut Node, time: &str| {
        let of = |fingerprint: &str| RowCounts {
            fingerprint: fingerprint.to_owned(),
            connections: 3,
            ..RowCounts::default()
        };
        let (time, items) = (time.to_owned(), vec![of("a"), of("b")]);
        node.take_counts(TrafficCounts { time, items, ..TrafficCounts::default() })
    };
    assert!(take(&mut node, "2026-03-04T12:00:29.9Z").is_empty());
    assert_eq!(node.row("a").map(|row| row.connections), Some(9));
    let later = Chart { time: "2026-03-04T12:00:40Z".to_owned(), ..chart(vec![row("a", 10)]) };
    node.take_rows(&["a".to_owned()].into(), later);
    assert_eq!(take(&mut node, "2026-03-04T12:00:35Z"), ["b"], "the other row was not read since");
    assert_eq!(take(&mut node, "2026-03-04T12:00:41Z"), ["a", "b"]);
}

#[test]
fn a_clock_that_is_set_back_stops_no_counts() {
    let mut node = node(vec![row("a", 3)]);
    node.read_at = "2026-03-04T12:00:30Z".parse().ok();
    for (time, is_taken) in
        [("2026-03-04T11:59:40Z", false), ("2026-03-04T11:50:00Z", true), ("2026-03-04T12:00:30Z", true)]
    {
        let of_row = RowCounts { fingerprint: "a".to_owned(), connections: 9, ..RowCounts::default() };
        let counts = TrafficCounts { time: time.to_owned(), items: vec![of_row], ..TrafficCounts::default() };
        assert_eq!(node.take_counts(counts).len(), usize::from(is_taken), "{time}");
    }
    assert_eq!(node.row("a").map(|row| row.connections), Some(9));
}

#[test]
fn a_port_that_is_served_beside_resolved_findings_is_known_until_it_is_gone() {
    let declaration = "declared".to_owned();
    let served = Some(Box::new(ChartRow { code: None, severity: None, declaration, ..row("a", 1) }));
    let ended = ChartRow { state: "resolved".to_owned(), served: served.clone(), ..row("a", 1) };
    let mut node = node(vec![row("a", 1)]);
    node.take_rows(&["a".to_owned()].into(), chart(vec![ended.clone()]));
    let kept = node.row("a").and_then(|row| row.served.as_deref()).map(|served| served.nodes.clone());
    assert_eq!(kept, Some(vec!["node-1".to_owned()]));
    let gone = chart(vec![ChartRow { served: None, ..ended.clone() }]);
    assert!(has_other_rows(&chart(vec![ended]), &gone));
}

#[test]
fn pods_are_those_of_the_node_whatever_its_agent_calls_it() {
    let pod = serde_json::from_value(serde_json::json!({
        "schema": "portolan/v1", "node": "host-7", "time": "", "addresses": [], "labels": {},
        "pod": {"namespace": "a", "name": "b", "uid": "c", "hostNetwork": true, "workload": null},
    }));
    let mut node = node(Vec::new());
    node.take_pods(vec![pod.expect("a pod")]);
    assert_eq!(node.pods().iter().map(|pod| pod.envelope.node.as_str()).collect::<Vec<_>>(), ["node-1"]);
}

#[test]
fn rows_that_were_read_again_are_no_change_for_the_next_reading() {
    let findings = || ["z", "b"].map(str::to_owned).to_vec();
    let rows = || vec![ChartRow { findings: findings(), ..row("a", 1) }, row("c", 1)];
    let mut before = chart(rows());
    set_node(&mut before, "node-1");
    let mut node = Node::of_chart("node-1", before);
    node.take_rows(&["a".to_owned()].into(), chart(vec![ChartRow { findings: findings(), ..row("a", 2) }]));
    assert_eq!(node.row("a").map(|row| row.findings.clone()), Some(findings()), "the worst first");
    let mut next = chart(rows());
    set_node(&mut next, "node-1");
    assert!(!has_other_rows(node.chart().expect("a chart"), &next));
}

#[test]
fn the_unknown_opening_of_a_port_is_no_change_and_a_known_one_is() {
    let of = |time: &str, first_seen: &str| {
        let (code, first_seen) = (None, first_seen.to_owned());
        let rows = vec![ChartRow { code, first_seen, ..row("a", 1) }];
        Chart { time: time.to_owned(), ..chart(rows) }
    };
    let (one, other) = ("2026-03-04T12:00:30Z", "2026-03-04T12:02:30Z");
    assert!(!has_other_rows(&of(one, one), &of(other, other)));
    assert!(has_other_rows(&of(one, "2026-03-04T12:00:00Z"), &of(other, "2026-03-04T12:01:00Z")));
}

#[test]
fn only_other_rows_count_as_a_change_and_a_node_that_is_down_has_none() {
    let before = chart(vec![row("a", 1)]);
    assert!(!has_other_rows(&before, &chart(vec![row("a", 100)])));
    assert!(has_other_rows(&before, &chart(vec![row("b", 1)])));
    assert!(has_other_rows(&before, &chart(vec![ChartRow { state: "resolved".to_owned(), ..row("a", 1) }])));
    let mut node = node(vec![row("a", 1)]);
    node.enter(State::Up, None);
    assert_eq!(node.missing(), None);
    node.set_down("no answer within 20 s".to_owned());
    assert_eq!(node.missing().map(|missing| missing.reason), Some("no answer within 20 s".to_owned()));
    assert!(node.chart().is_none() && node.row("a").is_none());
}
