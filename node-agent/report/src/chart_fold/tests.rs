//! Tests of each rule by which rows are folded, sorted, counted and merged.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::sample::select;

use super::*;
use crate::chart::{ChartRow, MAX_LISTED, MAX_ROWS};
use crate::test_objects::{finding, listener};
use crate::wire::{Explanation, Peer, Suppression, Traffic, Via, Workload};

mod merged;
mod served;
mod unjudged;

const NOW: &str = "2026-03-04T12:00:00.000Z";

fn pod(name: &str, workload: &str) -> Pod {
    Pod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: workload.to_owned() }),
        host_network: false,
        labels: None,
    }
}

/// Returns a finding of a replica of `web`, without callers.
fn of_replica(name: &str, severity: &str, code: &str) -> Finding {
    let mut of = finding(9229, severity, "node");
    of.code = code.to_owned();
    of.id = format!("id-{name}");
    of.fingerprint = "web-9229".to_owned();
    of.pod = Some(pod(name, "web"));
    of.traffic = Traffic { connections: 1, ..Traffic::default() };
    of
}

/// Merges charts at the latest of their times.
fn merge(charts: Vec<Chart>, declared_limit: usize) -> Chart {
    let latest = charts.iter().map(|chart| chart.time.clone()).max().unwrap_or_default();
    merge_at(charts, declared_limit, &latest, |_| true)
}

/// Returns a listener that a manifest declares.
fn declared(port: u16, process: &str) -> Listener {
    let mut declared = listener(port, process);
    "declared".clone_into(&mut declared.declaration.status);
    declared
}

fn chart_of(findings: &[Finding]) -> Chart {
    let mut fold = ChartFold::new("n1", NOW);
    for finding in findings {
        fold.add_finding(finding);
    }
    fold.finish(64, |_| true)
}

fn only(chart: Chart) -> ChartRow {
    assert_eq!(chart.rows.len(), 1, "{chart:?}");
    chart.rows.into_iter().next().expect("one row")
}

fn peer(address: &str, origin: &str, connections: u64) -> Peer {
    let mut peer = finding(1, "low", "x").traffic.peers.remove(0);
    peer.address = address.to_owned();
    peer.origin = origin.to_owned();
    peer.reference = None;
    peer.connections = connections;
    peer
}

fn node_pod(pod: Pod, node: &str, address: &str) -> NodePod {
    let mut envelope = crate::test_objects::envelope();
    envelope.node = node.to_owned();
    NodePod { envelope, pod, addresses: vec![address.to_owned()], labels: BTreeMap::new() }
}

#[test]
fn replicas_are_one_row_whose_worst_finding_decides_the_code() {
    let findings = [
        of_replica("web-b", "medium", "undeclared-reachable"),
        of_replica("web-a", "high", "undeclared-active"),
    ];
    let row = only(chart_of(&findings));
    assert_eq!((row.code.as_deref(), row.severity.as_deref()), (Some("undeclared-active"), Some("high")));
    assert_eq!((row.pods, row.connections, row.pod.as_deref()), (2, 2, Some("web-a")));
    assert_eq!(row.findings, ["id-web-a", "id-web-b"], "the worst first");
}

#[test]
fn an_open_finding_decides_over_a_worse_one_that_is_suppressed() {
    let mut suppressed = of_replica("web-a", "critical", "undeclared-external");
    suppressed.state = "suppressed".to_owned();
    suppressed.suppressed_by = Some(Suppression { rule: "r".to_owned(), reason: "why".to_owned() });
    let row = only(chart_of(&[suppressed.clone(), of_replica("web-b", "low", "undeclared-blocked")]));
    assert_eq!((row.state.as_str(), row.code.as_deref()), ("open", Some("undeclared-blocked")));
    assert_eq!(row.pods, 2);
    let row = only(chart_of(&[suppressed]));
    assert_eq!((row.state.as_str(), row.reason.as_deref()), ("suppressed", Some("exception r: why")));
}

#[test]
fn a_resolved_finding_makes_a_row_only_if_no_live_one_has_its_fingerprint() {
    let mut resolved = of_replica("web-old", "critical", "undeclared-external");
    resolved.state = "resolved".to_owned();
    let row = only(chart_of(std::slice::from_ref(&resolved)));
    assert_eq!((row.state.as_str(), row.pods, row.pods_total), ("resolved", 1, None));
    let live = of_replica("web-a", "high", "undeclared-active");
    let row = only(chart_of(&[resolved, live.clone()]));
    assert_eq!(row, only(chart_of(&[live])), "what has ended is not added to what is open");
}

#[test]
fn the_farthest_exposure_and_the_most_open_verdict_count() {
    let mut one = of_replica("web-a", "high", "undeclared-active");
    one.exposure = "loopback".to_owned();
    one.policy.verdict = "blocked".to_owned();
    let mut other = of_replica("web-b", "low", "undeclared-blocked");
    other.exposure = "host".to_owned();
    other.policy.verdict = "open".to_owned();
    let row = only(chart_of(&[one, other]));
    assert_eq!((row.exposure.as_str(), row.policy.as_str()), ("host", "open"));
}

#[test]
fn callers_are_grouped_by_workload_and_those_from_outside_by_address_and_way() {
    let mut finding = of_replica("web-a", "critical", "undeclared-external");
    let named = |address: &str, pod: &str| {
        let mut peer = peer(address, "pod", 5);
        peer.reference = Some(format!("shop/{pod}"));
        peer
    };
    let via = |kind: &str| {
        let mut peer = peer("10.0.0.1", "external", 2);
        peer.via = Some(Via {
            address: "192.168.1.5".to_owned(),
            port: 31_000,
            kind: kind.to_owned(),
            reference: None,
            client: Some("198.51.100.7".to_owned()),
        });
        peer
    };
    finding.traffic.peers = vec![
        named("10.1.0.3", "api-2"),
        named("10.1.0.2", "api-1"),
        via("nodePort"),
        via("nodePort"),
        via("loadBalancer"),
        peer("10.1.0.9", "pod", 1),
    ];
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&finding);
    fold.add_pod(&node_pod(pod("api-1", "api"), "n1", "10.1.0.2"));
    fold.add_pod(&node_pod(pod("api-2", "api"), "n1", "10.1.0.3"));
    let row = only(fold.finish(64, |_| true));
    let callers: Vec<_> = row
        .callers
        .iter()
        .map(|caller| {
            let workload = caller.workload.as_ref().map_or("", |workload| &workload.name);
            (workload, caller.address.as_str(), caller.via.as_deref(), caller.connections)
        })
        .collect();
    assert_eq!(
        callers,
        [
            ("api", "10.1.0.2", None, 10),
            ("", "198.51.100.7", Some("nodePort"), 4),
            ("", "198.51.100.7", Some("loadBalancer"), 2),
            ("", "10.1.0.9", None, 1),
        ]
    );
}

#[test]
fn an_address_of_several_pods_names_nobody() {
    let mut finding = of_replica("web-a", "high", "undeclared-active");
    finding.traffic.peers = vec![peer("10.1.0.2", "pod", 3), peer("::ffff:10.1.0.3", "pod", 4)];
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&finding);
    fold.add_pod(&node_pod(pod("old", "api"), "n1", "10.1.0.2"));
    fold.add_pod(&node_pod(pod("new", "worker"), "n1", "10.1.0.2"));
    fold.add_pod(&node_pod(pod("api-1", "api"), "n1", "10.1.0.3"));
    let row = only(fold.finish(64, |_| true));
    let callers: Vec<_> =
        row.callers.iter().map(|caller| (caller.connections, caller.pod.as_deref())).collect();
    assert_eq!(callers, [(4, Some("api-1")), (3, None)]);
}

#[test]
fn callers_ids_and_nodes_beyond_the_bound_are_counted() {
    let mut findings = Vec::new();
    for number in 0..MAX_LISTED + 3 {
        let mut finding = of_replica(&format!("web-{number:02}"), "high", "undeclared-active");
        finding.envelope.node = format!("n{number:02}");
        finding.traffic.peers = vec![peer(&format!("10.1.0.{number}"), "pod", number as u64)];
        findings.push(finding);
    }
    let row = only(chart_of(&findings));
    assert_eq!((row.callers.len(), row.more_callers), (MAX_LISTED, 3));
    assert_eq!((row.findings.len(), row.more_findings), (MAX_LISTED, 3));
    assert_eq!((row.nodes.len(), row.more_nodes), (MAX_LISTED, 3));
    assert_eq!(row.callers[0].connections, MAX_LISTED as u64 + 2, "the busiest first");
}

#[test]
fn the_latest_change_of_all_replicas_counts() {
    let changed = |name: &str, at: &str, previous: Option<&str>| {
        let mut finding = of_replica(name, "high", "undeclared-active");
        finding.changed_at = Some(at.to_owned());
        finding.previous_code = previous.map(ToOwned::to_owned);
        finding
    };
    let row = only(chart_of(&[
        changed("web-a", "2026-03-04T11:30:00.000Z", Some("undeclared-reachable")),
        changed("web-b", "2026-03-04T11:20:00.000Z", None),
        of_replica("web-c", "high", "undeclared-active"),
    ]));
    assert_eq!(row.changed_at.as_deref(), Some("2026-03-04T11:30:00.000Z"));
    assert_eq!(row.previous_code.as_deref(), Some("undeclared-reachable"));
}

#[test]
fn pods_are_counted_against_the_live_pods_of_their_workload() {
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&of_replica("web-a", "high", "undeclared-active"));
    for name in ["web-a", "web-b", "web-c"] {
        fold.add_pod(&node_pod(pod(name, "web"), "n1", "10.0.0.1"));
    }
    let row = only(fold.finish(64, |_| true));
    assert_eq!((row.pods, row.pods_total), (1, Some(3)));
}

#[test]
fn rows_come_in_the_order_of_state_severity_and_calls_with_declared_ports_last() {
    let of = |port: u16, severity: &str, state: &str, connections: u64| {
        let mut of = finding(port, severity, "x");
        of.state = state.to_owned();
        of.traffic = Traffic { connections, packets: 0, ..Traffic::default() };
        of
    };
    let mut udp = of(5, "high", "open", 0);
    udp.protocol = Some("UDP".to_owned());
    udp.traffic.packets = 5;
    let mut fold = ChartFold::new("n1", NOW);
    for finding in
        [of(1, "critical", "suppressed", 9), of(2, "high", "open", 3), of(3, "high", "open", 9), udp]
    {
        fold.add_finding(&finding);
    }
    fold.add_finding(&of(4, "critical", "open", 0));
    fold.add_listener(&declared(8080, "web"));
    let ports: Vec<_> = fold.finish(64, |_| true).rows.iter().filter_map(|row| row.port).collect();
    assert_eq!(ports, [4, 3, 5, 2, 1, 8080]);
}

#[test]
fn rows_beyond_the_bound_are_counted_and_are_the_least_severe() {
    let mut fold = ChartFold::new("n1", NOW);
    for number in 0..=MAX_ROWS {
        let mut finding = finding(80, if number == 7 { "info" } else { "low" }, "x");
        finding.id = format!("id-{number}");
        fold.add_finding(&finding);
    }
    let chart = fold.finish(64, |_| true);
    assert_eq!((chart.rows.len(), chart.totals.unlisted), (MAX_ROWS, 1));
    assert_eq!(
        chart.totals.open,
        BTreeMap::from([("info".to_owned(), 1), ("low".to_owned(), MAX_ROWS as u64)])
    );
    assert!(chart.rows.iter().all(|row| row.severity.as_deref() == Some("low")));
}

#[test]
fn ports_without_a_finding_are_rows_up_to_the_limit_and_counts_by_workload_beyond() {
    let fold = || {
        let mut fold = ChartFold::new("n1", NOW);
        fold.add_finding(&finding(9229, "high", "node"));
        for (port, workload) in [(80, "web"), (81, "web"), (90, "api"), (9229, "web")] {
            let mut listener = declared(port, "x");
            listener.pod = Some(pod("some", workload));
            listener.traffic.connections = 2;
            fold.add_listener(&listener);
        }
        fold
    };
    let listed = fold().finish(3, |_| true);
    assert_eq!((listed.rows.len(), listed.declared.len(), listed.totals.declared), (4, 0, 3));
    assert_eq!((listed.totals.listeners, listed.totals.findings), (4, 1));
    let counted = fold().finish(2, |_| true);
    assert_eq!((counted.rows.len(), counted.totals.declared), (1, 3));
    let counts: Vec<_> = counted
        .declared
        .iter()
        .map(|ports| (ports.workload.as_ref().map_or("", |it| &it.name), ports.ports, ports.connections))
        .collect();
    assert_eq!(counts, [("api", 1, 2), ("web", 2, 4)]);
}

#[test]
fn a_udp_port_that_may_be_a_clients_is_counted_and_makes_no_row() {
    let mut fold = ChartFold::new("n1", NOW);
    let mut unproven = listener(40_000, "resolver");
    unproven.unproven = true;
    fold.add_listener(&unproven);
    let chart = fold.finish(64, |_| true);
    assert_eq!((chart.rows.len(), chart.totals.listeners, chart.totals.declared), (0, 1, 0));
}

#[test]
fn a_listener_on_loopback_addresses_is_exposed_to_loopback_only() {
    for (addresses, expected) in
        [(vec!["127.0.0.1", "::1"], "loopback"), (vec!["127.0.0.1", "10.0.0.1"], "pod"), (vec![], "pod")]
    {
        let mut fold = ChartFold::new("n1", NOW);
        let mut listener = declared(80, "x");
        listener.addresses = addresses.into_iter().map(ToOwned::to_owned).collect();
        fold.add_listener(&listener);
        assert_eq!(only(fold.finish(64, |_| true)).exposure, expected);
    }
}

#[test]
fn the_reason_says_what_explains_or_blocks_the_port() {
    let mut explained = of_replica("web-a", "low", "undeclared-explained");
    explained.declaration.explained_by = vec![Explanation {
        source: "service".to_owned(),
        reference: "shop/web".to_owned(),
        audience: "pods".to_owned(),
    }];
    assert_eq!(only(chart_of(&[explained])).reason.as_deref(), Some("explained by service shop/web"));
    let mut blocked = of_replica("web-a", "low", "undeclared-blocked");
    blocked.policy.verdict = "blocked".to_owned();
    blocked.policy.policies = vec!["shop/deny".to_owned()];
    assert_eq!(only(chart_of(&[blocked.clone()])).reason.as_deref(), Some("blocked by shop/deny"));
    blocked.policy.policies = ["a", "b", "c", "d"].map(|name| format!("shop/{name}")).to_vec();
    let reason = only(chart_of(&[blocked.clone()])).reason;
    assert_eq!(reason.as_deref(), Some("blocked by shop/a, shop/b and 2 more"));
}

#[test]
fn a_reason_is_short_however_many_and_long_the_names_are() {
    let name = |letter: &str| format!("shop/{}", letter.repeat(253));
    let mut blocked = of_replica("web-a", "low", "undeclared-blocked");
    blocked.policy.verdict = "blocked".to_owned();
    blocked.policy.policies = (0..16).map(|_| name("é")).collect();
    let mut explained = of_replica("web-a", "low", "undeclared-explained");
    let by = Explanation { source: "service".to_owned(), reference: name("a"), audience: "pods".to_owned() };
    explained.declaration.explained_by = vec![by; 16];
    for (finding, start) in [(blocked, "blocked by shop/éé"), (explained, "explained by service shop/aa")] {
        let reason = only(chart_of(&[finding])).reason.expect("a reason");
        assert!(reason.starts_with(start) && reason.contains("a…") | reason.contains("é…"), "{reason}");
        assert!(reason.ends_with(" and more") && reason.chars().count() < 220, "{reason}");
    }
    let mut blocked = of_replica("web-a", "low", "undeclared-blocked");
    blocked.policy.verdict = "blocked".to_owned();
    blocked.policy.policies = ["a", "b", "c"].map(|name| format!("shop/{name}")).to_vec();
    assert_eq!(only(chart_of(&[blocked])).reason.as_deref(), Some("blocked by shop/a, shop/b and 1 more"));
}

#[test]
fn a_port_storm_with_calls_says_that_its_callers_are_not_known() {
    let mut storm = of_replica("web-a", "medium", "port-storm");
    (storm.port, storm.protocol, storm.listener) = (None, None, None);
    assert!(only(chart_of(&[storm.clone()])).truncated);
    storm.traffic = Traffic { packets: 3, ..Traffic::default() };
    assert!(only(chart_of(&[storm.clone()])).truncated);
    storm.traffic = Traffic::default();
    assert!(!only(chart_of(&[storm])).truncated, "nobody called it");
}

#[test]
fn minutes_of_replicas_are_added_at_the_end() {
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&of_replica("web-a", "high", "undeclared-active"));
    fold.add_minutes("web-9229", &[0, 0, 4]);
    fold.add_minutes("web-9229", &[0, 7, 0, 1]);
    fold.add_minutes("unknown", &[1]);
    assert_eq!(only(fold.finish(64, |_| true)).minutes, [7, 0, 5]);
}

#[test]
fn the_live_pods_of_a_workload_are_those_of_all_nodes_not_only_of_those_with_a_row() {
    let mut fold = ChartFold::new("n1", NOW);
    fold.add_finding(&of_replica("web-a", "high", "undeclared-active"));
    fold.add_pod(&node_pod(pod("web-a", "web"), "n1", "10.0.0.1"));
    let mut merged =
        merge(vec![fold.finish(64, |_| true), ChartFold::new("n2", NOW).finish(64, |_| true)], 64);
    let pods = [pod("web-a", "web"), pod("web-b", "web")];
    let totals = crate::workload_table::pod_totals(pods.iter().zip(["n1", "n2"]));
    set_pods_total(&mut merged, &totals);
    assert_eq!(only(merged).pods_total, Some(2));
}

#[test]
fn declared_ports_of_a_workload_on_several_nodes_are_no_more_than_one_node_has() {
    let chart = |node: &str, ports: &[u16], limit: usize| {
        let mut fold = ChartFold::new(node, NOW);
        for port in ports {
            let mut listener = declared(*port, "x");
            listener.fingerprint = format!("web-{port}");
            listener.pod = Some(pod(node, "web"));
            fold.add_listener(&listener);
        }
        fold.finish(limit, |_| true)
    };
    let merged = merge(vec![chart("n1", &[80, 81], 64), chart("n2", &[80, 81], 0)], 64);
    assert_eq!((merged.rows.len(), merged.totals.declared), (0, 2));
    assert_eq!(merged.declared[0].ports, 2);
    let merged = merge(vec![chart("n1", &[80, 81], 64), chart("n2", &[80], 64)], 64);
    assert_eq!((merged.rows.len(), merged.totals.declared, merged.declared.len()), (2, 2, 0));
}

#[test]
fn a_narrowed_chart_counts_what_it_keeps() {
    let mut chart = chart_of(&[of_replica("web-a", "high", "undeclared-active"), finding(80, "low", "x")]);
    narrow(&mut chart, 64, |row| row.port == Some(80));
    assert_eq!(chart.totals.open, BTreeMap::from([("low".to_owned(), 1)]));
    assert_eq!((only(chart.clone()).port, chart.totals.findings), (Some(80), 1));
}

/// Workload, node, code with severity, state, caller, connections, and whether its change is known.
type Replica<'a> = (usize, usize, (&'a str, &'a str), &'a str, &'a str, u64, bool);

/// Strategy for findings of few workloads on few nodes, so that many meet in one row. No row has more callers, ids or nodes than it
/// lists: what is cut on one node cannot be known to the merge.
fn some_findings() -> impl Strategy<Value = Vec<Finding>> {
    let code = select(vec![
        ("undeclared-external", "critical"),
        ("undeclared-active", "high"),
        ("undeclared-blocked", "low"),
    ]);
    let state = select(vec!["open", "suppressed", "resolved"]);
    let caller = select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let of = (0..2_usize, 0..3_usize, code, state, caller, 0..1000_u64, any::<bool>());
    proptest::collection::vec(of, 0..8).prop_map(|all| {
        let of = |(number, replica): (usize, Replica<'_>)| {
            let (workload, node, (code, severity), state, caller, connections, changed) = replica;
            let mut finding = of_replica(&format!("pod-{number}"), severity, code);
            finding.fingerprint = format!("f{workload}");
            finding.pod = Some(pod(&format!("pod-{number}"), &format!("w{workload}")));
            finding.envelope.node = format!("n{node}");
            state.clone_into(&mut finding.state);
            finding.traffic = Traffic {
                connections,
                peers: vec![peer(caller, "external", connections)],
                ..Traffic::default()
            };
            finding.changed_at = changed.then(|| format!("2026-03-04T11:00:0{number}.000Z"));
            finding
        };
        all.into_iter().enumerate().map(of).collect()
    })
}

proptest! {
    /// The first ids are the same. The others are compared without their order, which a merged row only knows of each node.
    #[test]
    fn the_charts_of_nodes_merge_to_what_one_fold_of_all_findings_gives(findings in some_findings()) {
        let mut charts = Vec::new();
        for node in ["n0", "n1", "n2"] {
            let mut fold = ChartFold::new(node, NOW);
            for finding in findings.iter().filter(|finding| finding.envelope.node == node) {
                fold.add_finding(finding);
            }
            charts.push(fold.finish(64, |_| true));
        }
        let mut merged = merge(charts.clone(), 64);
        charts.reverse();
        let reversed = merge(charts, 64);
        prop_assert_eq!(&reversed.rows, &merged.rows, "the order of the charts does not matter");
        let mut at_once = chart_of(&findings);
        let worst = |chart: &Chart| chart.rows.iter().map(|row| row.findings.first().cloned()).collect::<Vec<_>>();
        prop_assert_eq!(worst(&merged), worst(&at_once));
        for row in merged.rows.iter_mut().chain(&mut at_once.rows) {
            row.findings.sort();
        }
        prop_assert_eq!(merged.rows, at_once.rows);
        prop_assert_eq!(merged.totals.open, at_once.totals.open);
        prop_assert_eq!(merged.totals.suppressed, at_once.totals.suppressed);
    }
}
