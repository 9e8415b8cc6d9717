//! Reports where there are more findings than are kept: the worst is told, all are counted, and nothing passes.

use std::time::Duration;

use portolan_engine::model::finding_code::FindingCode::{
    UndeclaredActive, UndeclaredExternal, UndeclaredReachable,
};
use portolan_testing::api_server::server::Settings;
use serde_json::{Value, json};

use crate::desk::{Desk, On, SOON, finding, resolved, suppressed};

/// Findings of one pod, and of a node, that are kept.
const KEPT: u16 = 256;
const KEPT_OF_ALL: u16 = 8192;

fn policies(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().expect("results");
    results.iter().map(|result| result["policy"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn what_is_accepted_does_not_hide_what_is_not() {
    let mut desk = Desk::new(On::Reports).await;
    desk.knows("web");
    for port in 1..=KEPT + 44 {
        desk.note(&suppressed(finding("web", port, UndeclaredReachable)));
    }
    let backdoor = finding("web", 9090, UndeclaredActive);
    desk.note(&backdoor);
    desk.note(&backdoor);
    desk.until("a report of all", |desk| desk.summary("web") == Some([0, 1, 0, 300])).await;
    let report = desk.report("web").expect("a report");
    assert_eq!(policies(&report)[0], "undeclared-active");
    assert_eq!(report["metadata"]["annotations"]["portolan.dev/results-not-listed"], "237");
    // 44 came when there was no room, and one went for the worst.
    assert_eq!(desk.sinks.done()[0].limited, 45);
}

#[tokio::test]
async fn what_was_left_out_is_told_once_there_is_room() {
    let mut desk = Desk::new(On::Reports).await;
    desk.knows("web");
    let accepted = |port| suppressed(finding("web", port, UndeclaredReachable));
    for port in 1..=KEPT + 44 {
        desk.note(&accepted(port));
    }
    let late = finding("web", KEPT + 1, UndeclaredExternal);
    desk.note(&late);
    desk.until("a report of all", |desk| desk.summary("web") == Some([0, 1, 0, 299])).await;
    desk.note(&resolved(&late));
    for port in 1..=KEPT {
        desk.note(&resolved(&accepted(port)));
    }
    desk.until("the rest", |desk| desk.summary("web") == Some([0, 0, 0, 43])).await;
    desk.until("a result for each", |desk| {
        desk.report("web").is_some_and(|report| policies(&report).len() == 43)
    })
    .await;
    for port in KEPT + 2..=KEPT + 44 {
        desk.note(&resolved(&accepted(port)));
    }
    desk.until("it passes", |desk| desk.summary("web") == Some([1, 0, 0, 0])).await;
}

#[tokio::test]
async fn a_node_full_of_findings_has_room_for_those_of_one_more_pod() {
    let mut desk = Desk::new(On::Reports).await;
    let crowd: Vec<String> = (0..KEPT_OF_ALL / KEPT).map(|n| format!("crowd-{n}")).collect();
    for name in &crowd {
        desk.knows(name);
        for port in 1..=KEPT {
            desk.note(&finding(name, port, UndeclaredActive));
        }
    }
    desk.knows("web");
    desk.note(&finding("web", 80, UndeclaredReachable));
    desk.note(&suppressed(finding("web", 81, UndeclaredReachable)));
    desk.until("its report", |desk| desk.summary("web") == Some([0, 0, 1, 1])).await;
    assert_eq!(policies(&desk.report("web").expect("a report")).len(), 2);
    desk.until("all reports", |desk| desk.server.objects("reports").len() == crowd.len() + 1).await;
    assert!(crowd.iter().all(|name| desk.summary(name) == Some([0, 256, 0, 0])));
}

#[tokio::test]
async fn a_report_that_somebody_deleted_comes_back_though_nothing_changes() {
    let times = portolan::sink::kubernetes::desk::Times {
        refresh: Duration::from_millis(50),
        renew: Duration::from_millis(200),
        between: Duration::from_millis(20),
        ..SOON
    };
    let mut desk = Desk::with(On::Reports, Settings::default(), times, |_| {}).await;
    desk.knows("web");
    desk.note(&finding("web", 9090, UndeclaredActive));
    desk.until("a report", |desk| desk.report("web").is_some()).await;
    desk.server.delete("reports", "shop", "portolan-web");
    desk.until("it is back", |desk| desk.summary("web") == Some([0, 1, 0, 0])).await;
}

#[tokio::test]
async fn a_mirror_that_is_made_anew_gets_its_report_anew() {
    let mut desk = Desk::new(On::Reports).await;
    desk.knows_as("hash", "first");
    let found = finding("hash", 9090, UndeclaredActive);
    desk.note(&found);
    desk.until("a report", |desk| desk.report("first").is_some()).await;
    desk.forgets("hash");
    desk.knows_as("hash", "second");
    desk.until("another", |desk| desk.summary("second") == Some([0, 1, 0, 0])).await;
    // So fast that nobody saw it gone.
    desk.knows_as("hash", "third");
    desk.until("and another", |desk| desk.summary("third") == Some([0, 1, 0, 0])).await;
    // Its report went with it, and nothing is to be told of the next.
    desk.note(&resolved(&found));
    desk.knows_as("hash", "fourth");
    desk.for_a_while(SOON.between * 2).await;
    assert_eq!(desk.report("fourth"), None);
}

#[tokio::test]
async fn what_an_agent_before_left_is_mended_also_where_the_pods_are_listed_late() {
    let left = json!({
        "metadata": {
            "namespace": "shop", "name": "portolan-calm",
            "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/node": "node-1"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "calm", "uid": "calm"}],
            "managedFields": [{"manager": "portolan", "operation": "Apply"}],
        },
        "summary": {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0},
    });
    let mut desk = Desk::with(On::Reports, Settings::default(), SOON, |server| {
        server.put("reports", left);
    })
    .await;
    desk.for_a_while(SOON.seldom * 3).await;
    desk.knows("calm");
    desk.until("it passes", |desk| desk.summary("calm") == Some([1, 0, 0, 0])).await;
}
