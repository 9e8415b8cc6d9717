//! Charts of several nodes: their minutes, what is known of the past, the order of ids, and filters of more rows than fit.

use super::*;

/// Returns the chart of a node with one port that was called in these minutes.
fn called(node: &str, time: &str, minutes: &[u32]) -> Chart {
    let mut fold = ChartFold::new(node, time);
    fold.add_finding(&of_replica(node, "high", "undeclared-active"));
    fold.add_minutes("web-9229", minutes);
    fold.finish(64, |_| true)
}

#[test]
fn minutes_of_nodes_are_aligned_by_the_times_of_their_charts() {
    let merged = merge(
        vec![
            called("n1", "2026-03-04T12:00:59.000Z", &[1, 2, 3]),
            called("n2", "2026-03-04T12:01:00.000Z", &[10, 20]),
            called("n3", "2026-03-04T10:30:00.000Z", &[100]),
        ],
        64,
    );
    assert_eq!(only(merged).minutes, [1, 2, 13, 20], "those of an hour and a half ago are over");
}

#[test]
fn a_clock_that_is_ahead_or_no_time_at_all_moves_no_minutes_of_other_nodes() {
    let charts = vec![
        called("n1", NOW, &[1, 2]),
        called("n2", "2026-03-04T13:30:00.000Z", &[10]),
        called("n3", "z", &[9]),
    ];
    let merged = merge_at(charts, 64, NOW, |_| true);
    assert_eq!(merged.time, NOW);
    assert_eq!(only(merged).minutes, [1, 12]);
}

#[test]
fn charts_of_several_nodes_have_no_node_and_know_the_past_since_the_latest_start() {
    let chart = |node: &str, started_at: &str| {
        let header = ChartHeader {
            cluster: Some("c".to_owned()),
            node: node.to_owned(),
            time: NOW.to_owned(),
            as_of: "1".to_owned(),
            started_at: started_at.to_owned(),
        };
        ChartFold::with_header(header).finish(64, |_| true)
    };
    let merged =
        merge(vec![chart("n1", "2026-03-01T00:00:00.000Z"), chart("n2", "2026-03-02T00:00:00.000Z")], 64);
    assert_eq!((merged.cluster.as_deref(), merged.node.as_deref()), (Some("c"), None));
    assert_eq!(merged.started_at, "2026-03-02T00:00:00.000Z");
    assert_eq!(merge(vec![chart("n1", ""), chart("n2", "2026-03-02T00:00:00.000Z")], 64).started_at, "");
}

/// Returns the chart of a node with so many rows of one finding each.
fn of_rows(node: &str, number: usize, severity: &str, state: &str) -> Chart {
    let mut fold = ChartFold::new(node, NOW);
    for number in 0..number {
        let mut finding = finding(80, severity, node);
        finding.id = format!("{node}-{number}");
        state.clone_into(&mut finding.state);
        fold.add_finding(&finding);
    }
    fold.finish(64, |_| true)
}

#[test]
fn a_filter_finds_rows_for_which_there_is_no_room_among_all() {
    let charts =
        || vec![of_rows("n1", MAX_ROWS, "high", "open"), of_rows("payments", 3, "low", "suppressed")];
    assert_eq!(merge(charts(), 64).totals.unlisted, 3);
    let some = merge_at(charts(), 64, NOW, |row| row.process.as_deref() == Some("payments"));
    assert_eq!((some.rows.len(), some.totals.unlisted, some.totals.suppressed), (3, 0, 3));
    assert_eq!(some.totals.open, BTreeMap::new(), "rows that do not match are not counted");
}

#[test]
fn resolved_rows_that_do_not_match_make_no_answer_incomplete() {
    let resolved = || ["n1", "n2"].map(|node| of_rows(node, MAX_ROWS - 10, "high", "resolved"));
    let charts = || [vec![of_rows("n3", 50, "low", "open")], resolved().into()].concat();
    let open = merge_at(charts(), 64, NOW, |row| row.state == "open");
    assert_eq!((open.rows.len(), open.totals.unlisted, open.totals.findings), (50, 0, 50));
}

#[test]
fn a_merged_row_lists_the_worst_finding_first() {
    let of = |node: &str, replicas: &[(&str, &str, &str)]| {
        let mut fold = ChartFold::new(node, NOW);
        for (name, severity, code) in replicas {
            fold.add_finding(&of_replica(name, severity, code));
        }
        fold.finish(64, |_| true)
    };
    let n1 = of("n1", &[("z", "critical", "undeclared-external"), ("a", "low", "undeclared-blocked")]);
    assert_eq!(only(merge(vec![n1.clone()], 64)).findings, only(n1.clone()).findings);
    let n2 = of("n2", &[("m", "high", "undeclared-active")]);
    assert_eq!(only(merge(vec![n2, n1], 64)).findings.first().map(String::as_str), Some("id-z"));
}
