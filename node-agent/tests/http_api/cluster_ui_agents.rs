//! `kubectl portolan ui` with agents that are older, or that answer slowly, wrongly, half or not at all: each costs its own node
//! only, which is named with the reason.

use serde_json::{Value, json};

use crate::chart_agent::{ChartAgent, OddAgent, OddAnswer, OlderAgent, TIME, row};
use crate::cluster_watch::{Streams, change, during};
use crate::kubectl_portolan::Cluster;
use crate::model::Node;
use crate::served::Served;
use crate::ui_page::UiPage;

/// Runs the page of a good agent and an odd one until the odd one's node is named, and returns the reason.
async fn reason(name: &str, timeout: u64, odd: impl Fn(&str) -> OddAnswer + Send + Sync + 'static) -> String {
    let cluster = Cluster::new(name).await;
    let _good = ChartAgent::of(&cluster, "node-1", vec![row("web-9229", "web", "high", 5)], Vec::new()).await;
    let odd = OddAgent::start(odd).await;
    cluster.forward("node-2", odd.address);
    cluster.pod("node-2", "Running");
    let streams = Streams::default();
    let mut reason = String::new();
    during(&cluster, &format!("--timeout {timeout} ui --no-browser"), &streams, async {
        let page = UiPage::open(&streams).await;
        let down = |agents: &Value| agents["items"][1]["state"] == json!("down");
        page.until("/v1/agents", "down", down).await;
        let chart = page
            .until("/v1/chart", "answered", |chart| chart["missing"].as_array().map(Vec::len) == Some(1))
            .await;
        assert_eq!(chart["missing"][0]["node"], json!("node-2"), "{chart}");
        assert_eq!(chart["rows"].as_array().map(Vec::len), Some(1), "the other node is whole: {chart}");
        reason = chart["missing"][0]["reason"].as_str().unwrap_or_default().to_owned();
    })
    .await;
    println!("{name}: {reason}");
    reason
}

#[tokio::test]
async fn the_lists_of_an_older_agent_are_folded_and_what_it_cannot_tell_is_said() {
    let cluster = Cluster::new("ui-older").await;
    let served = Served::start(Node { name: "node-1", ..Node::default() }).await;
    let older = OlderAgent::start(served.address).await;
    cluster.forward("node-1", older.address);
    cluster.pod("node-1", "Running");
    let streams = Streams::default();
    during(&cluster, "ui --no-browser", &streams, async {
        let page = UiPage::open(&streams).await;
        let chart = page.whole().await;
        let rows = chart["rows"].as_array().expect("rows");
        println!("{chart:#}");
        let active = rows.iter().find(|row| row["code"] == json!("undeclared-active")).expect("a row");
        assert_eq!((&active["port"], &active["connections"]), (&json!(9090), &json!(12)));
        assert_eq!(active["callers"][0]["pod"], json!("curler"), "{active}");
        assert!(rows.iter().any(|row| row["code"] == Value::Null && row["port"] == json!(8080)), "{chart}");
        let agents = page.json("/v1/agents").await;
        let lacks = agents["items"][0]["lacks"].as_array().expect("what it lacks");
        assert!(
            lacks.iter().any(|lack| lack.as_str().is_some_and(|lack| lack.starts_with("counts"))),
            "{agents}"
        );
        let mut events = page.follow("Finding", "").await;
        served.publish(&change("node-1", 82));
        events.until("\"id\":\"app-tcp-00082\"").await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_no_chart_is_named() {
    let reason = reason("ui-odd-text", 20, |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-2"),
        _ => OddAnswer::whole("<html>it works</html>"),
    })
    .await;
    assert!(reason.contains("expected value"), "{reason}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let reason = reason("ui-odd-endless", 120, |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-2"),
        _ => OddAnswer::endless("{\"a\":1},"),
    })
    .await;
    assert_eq!(reason, "it has more than 16777216 bytes");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_no_answer() {
    let reason = reason("ui-odd-cut", 20, |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-2"),
        Some("/v1/pods") => OddAnswer::whole("{\"items\": [], \"continue\": null}"),
        _ => OddAnswer::cut("{\"schema\":\"portolan/v1\",\"rows\":["),
    })
    .await;
    assert!(!reason.is_empty(), "{reason}");
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_given_up_after_its_time() {
    let reason = reason("ui-odd-silent", 1, |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        _ => OddAnswer::silence(),
    })
    .await;
    assert_eq!(reason, "no answer within 1 s");
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let pod = json!({
        "schema": "portolan/v1", "node": "node-2", "time": TIME, "addresses": [], "labels": {},
        "pod": {"namespace": "a", "name": "b", "uid": "c", "hostNetwork": false, "workload": null},
    });
    let page = json!({"items": vec![pod; 500], "continue": "again"}).to_string();
    let reason = reason("ui-odd-list", 1, move |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-2"),
        Some("/v1/pods") => OddAnswer::whole(&page),
        _ => OddAnswer::silence(),
    })
    .await;
    assert_eq!(reason, "no answer within 1 s");
}

#[tokio::test]
async fn lists_of_too_many_bytes_are_cut_and_the_node_is_named() {
    let cluster = Cluster::new("ui-odd-bytes").await;
    let pod = json!({
        "schema": "portolan/v1", "node": "node-1", "time": TIME, "addresses": [],
        "labels": {"a": "x".repeat(15 << 20)},
        "pod": {"namespace": "a", "name": "b", "uid": "c", "hostNetwork": false, "workload": null},
    });
    let page = json!({"items": [pod], "continue": "again"}).to_string();
    let odd = OddAgent::start(move |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-1"),
        Some("/v1/pods") => OddAnswer::whole(&page),
        Some("/v1/chart") => OddAnswer::chart(&[]),
        _ => OddAnswer::whole("{}"),
    })
    .await;
    cluster.forward("node-1", odd.address);
    cluster.pod("node-1", "Running");
    let streams = Streams::default();
    during(&cluster, "--timeout 120 ui --no-browser", &streams, async {
        let page = UiPage::open(&streams).await;
        let cut = |agents: &Value| agents["items"][0]["state"] == json!("up");
        let agents = page.until("/v1/agents", "read", cut).await;
        let reason = "its lists have more than 64 MiB; the other pods were not read";
        assert_eq!(agents["items"][0]["reason"], json!(reason));
        assert_eq!(page.json("/v1/chart").await["missing"][0]["reason"], json!(reason));
    })
    .await;
}

#[tokio::test]
async fn a_chart_with_more_rows_than_there_can_be_is_refused() {
    let rows: Vec<Value> =
        (0..5001).map(|number| json!(row(&number.to_string(), "web", "high", 1))).collect();
    let reason = reason("ui-odd-rows", 120, move |path| match path.split('?').next() {
        Some("/v1/watch") => OddAnswer::stream(),
        Some("/v1/status") => OddAnswer::status("node-2"),
        Some("/v1/pods") => OddAnswer::whole("{\"items\": [], \"continue\": null}"),
        _ => OddAnswer::chart(&rows),
    })
    .await;
    assert_eq!(reason, "it has 5001 rows; expected 5000 at most");
}

#[tokio::test]
async fn a_filter_finds_rows_for_which_an_answer_with_all_has_no_room() {
    let cluster = Cluster::new("ui-many").await;
    let many = |node: &str| (0..3000).map(|n| row(&format!("{node}-{n}"), "web", "high", 5)).collect();
    let _first = ChartAgent::of(&cluster, "node-1", many("one"), Vec::new()).await;
    let mut rows: Vec<_> = many("two");
    rows.push(row("p", "payments", "low", 0));
    let _second = ChartAgent::of(&cluster, "node-2", rows, Vec::new()).await;
    let streams = Streams::default();
    during(&cluster, "ui --no-browser", &streams, async {
        let page = UiPage::open(&streams).await;
        let all = page.whole().await;
        assert_eq!(
            (all["rows"].as_array().map(Vec::len), &all["totals"]["unlisted"]),
            (Some(5000), &json!(1001))
        );
        for query in ["q=payments", "q=payments&pod=payments-1", "q=payments&namespace=shop"] {
            let some = page.json(&format!("/v1/chart?{query}")).await;
            assert_eq!(some["rows"].as_array().map(Vec::len), Some(1), "{query}: {}", some["totals"]);
            assert_eq!(some["totals"]["open"], json!({"low": 1}), "{query}");
            assert_eq!(some["totals"]["unlisted"], json!(0), "{query}");
        }
    })
    .await;
}
