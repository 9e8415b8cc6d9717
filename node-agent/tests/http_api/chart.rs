//! `/v1/chart`, the event `Traffic`, remedies and `/v1/agents`.

use std::sync::Arc;

use portolan::sink::convert::workload_port::of_finding;
use portolan::sink::http::query::PortCounts;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::{DeclarationStatus, Listener};
use portolan_report::chart::{Chart, ChartRow};
use serde_json::Value;

use crate::cluster::seconds;
use crate::exchange::{Following, get};
use crate::golden;
use crate::model::{Node, finding, listener, pod};
use crate::routes::shown;
use crate::served::Served;
use crate::watching::finding_report;

async fn chart(served: &Served, query: &str) -> Chart {
    let answer = get(served.address, &format!("/v1/chart{query}"), "").await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("a chart")
}

fn ports(chart: &Chart) -> Vec<Option<u16>> {
    chart.rows.iter().map(|row| row.port).collect()
}

fn of_port(chart: &Chart, port: u16) -> &ChartRow {
    chart.rows.iter().find(|row| row.port == Some(port)).expect("the row")
}

/// A port of a replica of Deployment `shop/web`.
fn of_replica(name: &str, port: u16, connections: u64) -> Arc<Listener> {
    let mut replica = pod("shop", name);
    replica.workload = pod("shop", "web").workload;
    let mut listener = listener(Some(replica), Protocol::Tcp, port, DeclarationStatus::Undeclared);
    listener.traffic.connections = connections;
    Arc::new(listener)
}

fn of(findings: Vec<Finding>, listeners: Vec<Arc<Listener>>) -> Node {
    Node { findings: findings.into_iter().map(Arc::new).collect(), listeners, ..Node::default() }
}

#[tokio::test]
async fn the_new_routes_answer_as_their_golden_files_say() {
    let served = Served::start(Node::default()).await;
    served.publish(&finding_report("shop", 1));
    for (name, path) in [
        ("chart", "/v1/chart"),
        ("chart-counted", "/v1/chart?declared=0"),
        ("chart-csv", "/v1/chart?output=csv"),
        ("chart-ndjson", "/v1/chart?output=ndjson"),
        ("chart-bad-declared", "/v1/chart?declared=1001"),
        ("chart-bad-since", "/v1/chart?since=yesterday"),
        ("chart-bad-output", "/v1/chart?output=xml"),
        ("chart-bad-severity", "/v1/chart?severity=awful"),
        ("chart-bad-state", "/v1/chart?state=open,closed"),
        ("chart-bad-fingerprint", "/v1/chart?fingerprint=,"),
        ("findings-bad-since", "/v1/findings?since=yesterday"),
        ("remedies", "/v1/findings/multi-port-app-tcp-09090/remedies"),
        ("remedies-unknown", "/v1/findings/nothing/remedies"),
        ("agents", "/v1/agents"),
        ("traffic-filtered", "/v1/watch?kind=Traffic&namespace=shop"),
    ] {
        let answer = get(served.address, path, "").await;
        golden::check(&format!("{name}.txt"), &shown(&answer));
    }
}

#[tokio::test]
async fn replicas_are_one_row_and_every_page_is_read() {
    let (mut findings, mut listeners) = (Vec::new(), Vec::new());
    for number in 0..700 {
        let listener = of_replica(&format!("web-{number:03}"), 9229, 1);
        findings.push(finding(FindingCode::UndeclaredReachable, &listener));
        listeners.push(listener);
    }
    findings[650].code = FindingCode::UndeclaredActive;
    let served = Served::start(of(findings, listeners)).await;
    let chart = chart(&served, "").await;
    assert_eq!(ports(&chart), [Some(9229)]);
    let row = of_port(&chart, 9229);
    assert_eq!((row.pods, row.connections, row.more_findings), (700, 700, 692));
    assert_eq!(row.code.as_deref(), Some("undeclared-active"));
    assert_eq!((chart.totals.findings, chart.totals.listeners), (700, 700));
}

#[tokio::test]
async fn the_position_of_the_stream_is_that_before_the_rows() {
    let served = Served::start(Node::default()).await;
    assert_eq!(chart(&served, "").await.as_of, "");
    served.publish(&finding_report("shop", 1));
    served.publish(&finding_report("shop", 2));
    assert_eq!(chart(&served, "").await.as_of, "abc-1");
}

#[tokio::test]
async fn parameters_select_rows_as_they_are_written() {
    let served = Served::start(Node::default()).await;
    for (query, expected) in [
        ("", vec![Some(9090), Some(5000), Some(53), Some(22), Some(8080)]),
        ("?severity=high", vec![Some(9090)]),
        ("?severity=high,medium&port=5000", vec![Some(5000)]),
        ("?namespace=kube-system", vec![Some(53)]),
        ("?namespace=-shop", vec![Some(53), Some(22)]),
        ("?q=-python3", vec![]),
        ("?q=kube-system/dns+53/udp", vec![Some(53)]),
        ("?caller=shop", vec![Some(9090)]),
        ("?caller=-shop&severity=high,medium", vec![Some(5000)]),
        ("?since=85s&severity=high,medium", vec![Some(9090), Some(5000)]),
        ("?since=10s", vec![]),
        ("?state=suppressed", vec![]),
        ("?state=resolved", vec![Some(22)]),
        ("?protocol=udp", vec![Some(53)]),
        ("?workload=deployment/dns", vec![Some(53)]),
        ("?fingerprint=nothing", vec![]),
        ("?namespace=", vec![]),
    ] {
        let mut found = ports(&chart(&served, query).await);
        let mut expected = expected;
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{query}");
    }
    let first = ports(&chart(&served, "").await);
    assert_eq!(first[..2], [Some(9090), Some(5000)], "findings come first, the worst of them at the top");
}

#[tokio::test]
async fn fingerprints_name_the_rows_that_are_still_there() {
    let served = Served::start(Node::default()).await;
    let all = chart(&served, "").await;
    let (called, declared) = (of_port(&all, 9090), of_port(&all, 8080));
    let (of_called, of_declared) = (&called.fingerprint, &declared.fingerprint);
    for (query, expected) in [
        (format!("{of_called},{of_declared},{}", "0".repeat(32)), vec![called, declared]),
        (of_called.to_ascii_uppercase(), vec![called]),
        (of_declared.clone(), vec![declared]),
        (format!("{of_declared}&port=9090"), vec![]),
        ("0".repeat(32), vec![]),
    ] {
        let some = chart(&served, &format!("?fingerprint={query}")).await;
        assert_eq!(some.rows.iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn ports_of_a_storm_are_neither_rows_nor_counted_as_declared() {
    let mut listeners: Vec<_> = (0..300).map(|number| of_replica("web-1", 10_000 + number, 0)).collect();
    let mut declared = Listener::clone(&of_replica("web-1", 8080, 3));
    declared.declaration.status = DeclarationStatus::Declared;
    listeners.push(Arc::new(declared));
    let served = Served::start(of(Vec::new(), listeners)).await;
    let chart = chart(&served, "").await;
    assert_eq!((ports(&chart), chart.declared.len()), (vec![Some(8080)], 0));
    assert_eq!((chart.totals.declared, chart.totals.unjudged, chart.totals.listeners), (1, 300, 301));
}

#[tokio::test]
async fn the_row_of_a_resolved_finding_tells_that_its_port_is_still_served() {
    let mut declared = Listener::clone(&of_replica("web-1", 9229, 3));
    declared.declaration.status = DeclarationStatus::Declared;
    let declared = Arc::new(declared);
    let resolved =
        Finding { state: FindingState::Resolved, ..finding(FindingCode::UndeclaredActive, &declared) };
    let other = of_replica("web-1", 9230, 3);
    let served = Served::start(of(vec![resolved], vec![declared, other])).await;
    let all = chart(&served, "?state=open,suppressed,resolved").await;
    let row = of_port(&all, 9229);
    assert_eq!((row.state.as_str(), all.totals.declared, all.totals.unjudged), ("resolved", 1, 1));
    let beside = row.served.as_deref().expect("the port");
    assert_eq!((beside.code.as_deref(), beside.declaration.as_str()), (None, "declared"));
    let query = format!("?state=open,suppressed,resolved&fingerprint={}", row.fingerprint);
    assert_eq!(chart(&served, &query).await.rows.as_slice(), std::slice::from_ref(row));
    let open = chart(&served, "").await;
    assert_eq!(of_port(&open, 9229), beside);
}

#[tokio::test]
async fn a_file_without_all_ports_is_called_incomplete() {
    let served = Served::start(Node::default()).await;
    for (query, name, counted) in [
        ("?output=csv", "portolan.csv", "0"),
        ("?output=csv&declared=0", "portolan-incomplete.csv", "3"),
        ("?output=ndjson&declared=0", "portolan-incomplete.ndjson", "3"),
    ] {
        let answer = get(served.address, &format!("/v1/chart{query}"), "").await;
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert_eq!(disposition, format!("attachment; filename=\"{name}\""), "{query}");
        assert_eq!(answer.header("portolan-counted-ports"), Some(counted), "{query}");
    }
}

#[tokio::test]
async fn a_list_of_what_changed_since_a_while_ago_is_never_unchanged() {
    let served = Served::start(Node::default()).await;
    let tag = get(served.address, "/v1/findings", "").await.header("etag").expect("a tag").to_owned();
    let known = format!("if-none-match: {tag}\r\n");
    assert_eq!(get(served.address, "/v1/findings", &known).await.status, 304);
    let answer = get(served.address, "/v1/findings?since=24h", &known).await;
    assert_eq!((answer.status, answer.header("etag")), (200, None));
}

#[tokio::test]
async fn minutes_stand_at_the_row_of_their_fingerprint() {
    let listener = of_replica("web-1", 9229, 3);
    let finding = finding(FindingCode::UndeclaredActive, &listener);
    let fingerprint = of_finding(&finding, "node-1");
    let mut node = of(vec![finding], vec![listener]);
    node.minutes = vec![(u128::from_str_radix(&fingerprint, 16).expect("a number"), vec![0, 2, 1])];
    let served = Served::start(node).await;
    for query in [String::new(), format!("?fingerprint={fingerprint}")] {
        assert_eq!(of_port(&chart(&served, &query).await, 9229).minutes, [2, 1], "{query}");
    }
}

#[tokio::test]
async fn minutes_of_all_pods_do_not_stand_at_a_row_of_some() {
    let replicas = ["web-1", "web-2"].map(|name| of_replica(name, 9229, 3));
    let called = Node::default().findings[0].traffic.clone();
    let findings = replicas.each_ref().map(|listener| Finding {
        traffic: called.clone(),
        ..finding(FindingCode::UndeclaredActive, listener)
    });
    let fingerprint = u128::from_str_radix(&of_finding(&findings[0], "node-1"), 16).expect("a number");
    let mut node = of(findings.into(), replicas.into());
    node.minutes = vec![(fingerprint, vec![1]), (fingerprint, vec![2])];
    let served = Served::start(node).await;
    for (query, pods, minutes) in [
        ("?workload=web", 2, &[3][..]),
        ("?pod=web-1", 1, &[]),
        ("?labels=app%3Dweb-1", 1, &[]),
        ("?origin=pod", 2, &[]),
    ] {
        let chart = chart(&served, query).await;
        let row = of_port(&chart, 9229);
        assert_eq!((row.pods, row.minutes.as_slice()), (pods, minutes), "{query}");
    }
}

#[tokio::test]
async fn a_change_of_code_is_told_with_its_time_and_the_code_before() {
    let listener = of_replica("web-1", 9229, 3);
    let changed = Finding {
        changed_at: Some(seconds(80)),
        previous_code: Some(FindingCode::UndeclaredReachable),
        ..finding(FindingCode::UndeclaredActive, &listener)
    };
    let other = of_replica("web-2", 9300, 0);
    let unchanged = finding(FindingCode::UndeclaredReachable, &other);
    let served = Served::start(of(vec![changed, unchanged], vec![listener, other])).await;
    let chart = chart(&served, "?since=30s").await;
    assert_eq!(ports(&chart), [Some(9229)], "the other one is older");
    let row = of_port(&chart, 9229);
    assert_eq!(row.previous_code.as_deref(), Some("undeclared-reachable"));
    assert_eq!(row.changed_at.as_deref(), Some("2026-03-04T12:01:20.000Z"));
    for (since, expected) in [("30s", 1), ("2026-03-04T12:01:20Z", 1), ("2026-03-04T12:01:21Z", 0), ("1h", 2)]
    {
        let list = get(served.address, &format!("/v1/findings?since={since}"), "").await.json();
        assert_eq!(list["items"].as_array().expect("items").len(), expected, "{since}: {list}");
    }
}

#[tokio::test]
async fn a_row_is_small() {
    let (mut findings, mut listeners) = (Vec::new(), Vec::new());
    for number in 0..100 {
        let listener = Arc::new(listener(
            Some(pod("shop", &format!("web-{number}"))),
            Protocol::Tcp,
            9229,
            DeclarationStatus::Undeclared,
        ));
        findings.push(finding(FindingCode::UndeclaredReachable, &listener));
        listeners.push(listener);
    }
    let served = Served::start(of(findings, listeners)).await;
    let answer = get(served.address, "/v1/chart", "").await;
    let rows = answer.json()["rows"].as_array().expect("rows").len();
    assert_eq!(rows, 100);
    assert!(answer.body.len() / rows < 700, "{}", answer.body.len() / rows);
}

fn counts(fingerprint: u128, connections: u64) -> PortCounts {
    PortCounts { fingerprint, connections, last_seen: seconds(70), ..PortCounts::default() }
}

fn traffic(text: &str) -> Vec<Value> {
    let events = text.split("\n\n").filter_map(|event| event.split_once("event: Traffic\ndata: "));
    events
        .map(|(before, data)| {
            assert!(!before.contains("id: "), "counts cannot be resumed: {text}");
            serde_json::from_str(data).expect("JSON")
        })
        .collect()
}

#[tokio::test]
async fn counts_come_to_those_who_name_them_beside_other_events() {
    let node = Node { port_counts: vec![counts(1, 5), counts(2, 6)], ..Node::default() };
    let served = Served::start(node).await;
    let mut following = Following::start(served.address, "/v1/watch?kind=Finding,Traffic", "").await;
    let mut silent = Following::start(served.address, "/v1/watch", "").await;
    let text = following.until("}]}\n\n").await.to_owned();
    let events = traffic(&text);
    assert_eq!(events.len(), 1, "{text}");
    assert_eq!(events[0]["items"][0]["fingerprint"], format!("{:032x}", 1));
    assert_eq!(events[0]["items"][1]["connections"], 6);
    assert_eq!(events[0]["items"][1]["lastSeen"], "2026-03-04T12:01:10.000Z");
    served.publish(&finding_report("shop", 2));
    following.until("event: Finding").await;
    let text = silent.until("event: Finding").await;
    assert!(traffic(text).is_empty(), "{text}");
}

#[tokio::test]
async fn agents_of_other_nodes_are_a_kind_that_an_agent_knows_and_never_sends() {
    let served = Served::start(Node::default()).await;
    let mut following = Following::start(served.address, "/v1/watch?kind=Agent,Loss", "").await;
    served.publish(&finding_report("shop", 2));
    served.publish(&portolan_report::wire::Report::Loss(crate::model::converter().loss(
        "ring-full",
        1,
        true,
    )));
    let text = following.until("event: Loss").await;
    assert!(!text.contains("event: Finding") && !text.contains("event: Agent\n"), "{text}");
}

#[tokio::test]
async fn an_agent_that_has_not_looked_at_everything_is_starting() {
    let served = Served::start(Node::default()).await;
    served.health.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let agents = get(served.address, "/v1/agents", "").await.json();
    assert_eq!(agents["items"][0]["state"], "starting", "{agents}");
    assert!(agents["items"][0]["reason"].is_string(), "{agents}");
}

#[tokio::test]
async fn the_address_of_the_page_has_its_filters_and_what_it_does_not_know() {
    let served = Served::start(Node::default()).await;
    for query in ["view=table&severity=critical&open=a&open=b&port=abc&tab=list", "colour=red"] {
        assert_eq!(get(served.address, &format!("/?{query}"), "").await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn a_suppressed_row_comes_after_open_ones() {
    let (one, other) = (of_replica("web-1", 9229, 100), of_replica("web-2", 9300, 1));
    let suppressed =
        Finding { state: FindingState::Suppressed, ..finding(FindingCode::UndeclaredExternal, &one) };
    let open = finding(FindingCode::UndeclaredReachable, &other);
    let served = Served::start(of(vec![suppressed, open], vec![one, other])).await;
    let chart = chart(&served, "").await;
    assert_eq!(ports(&chart), [Some(9300), Some(9229)]);
    assert_eq!((chart.totals.suppressed, chart.totals.open["medium"]), (1, 1));
}
