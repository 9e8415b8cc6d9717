//! Reports with more findings than the limits: the worst are listed, all are counted, and none is reported as passed.

use std::time::Duration;

use portolan_engine::model::finding_code::FindingCode::{
    UndeclaredActive, UndeclaredExternal, UndeclaredReachable,
};
use portolan_testing::api_server::server::Settings;
use serde_json::{Value, json};

use crate::sink_world::{On, SOON, SinkWorld, finding, resolved, suppressed};

/// Maximum number of findings kept per pod, and per node.
const KEPT: u16 = 256;
const KEPT_OF_ALL: u16 = 8192;

fn policies(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().expect("results");
    results.iter().map(|result| result["policy"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn what_is_accepted_does_not_hide_what_is_not() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    for port in 1..=KEPT + 44 {
        world.note(&suppressed(finding("web", port, UndeclaredReachable)));
    }
    let backdoor = finding("web", 9090, UndeclaredActive);
    world.note(&backdoor);
    world.note(&backdoor);
    world.until("a report of all", |world| world.summary("web") == Some([0, 1, 0, 300])).await;
    let report = world.report("web").expect("a report");
    assert_eq!(policies(&report)[0], "undeclared-active");
    assert_eq!(report["metadata"]["annotations"]["portolan.dev/results-not-listed"], "237");
    // 44 findings came when the pod was full, and the worst evicted one.
    assert_eq!(world.sinks.totals()[0].limited, 45);
}

#[tokio::test]
async fn what_was_left_out_is_told_once_there_is_room() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    let accepted = |port| suppressed(finding("web", port, UndeclaredReachable));
    for port in 1..=KEPT + 44 {
        world.note(&accepted(port));
    }
    let late = finding("web", KEPT + 1, UndeclaredExternal);
    world.note(&late);
    world.until("a report of all", |world| world.summary("web") == Some([0, 1, 0, 299])).await;
    world.note(&resolved(&late));
    for port in 1..=KEPT {
        world.note(&resolved(&accepted(port)));
    }
    world.until("the rest", |world| world.summary("web") == Some([0, 0, 0, 43])).await;
    world
        .until("a result for each", |world| {
            world.report("web").is_some_and(|report| policies(&report).len() == 43)
        })
        .await;
    for port in KEPT + 2..=KEPT + 44 {
        world.note(&resolved(&accepted(port)));
    }
    world.until("it passes", |world| world.summary("web") == Some([1, 0, 0, 0])).await;
}

#[tokio::test]
async fn a_node_full_of_findings_has_room_for_those_of_one_more_pod() {
    let mut world = SinkWorld::new(On::Reports).await;
    let crowd: Vec<String> = (0..KEPT_OF_ALL / KEPT).map(|n| format!("crowd-{n}")).collect();
    for name in &crowd {
        world.knows(name);
        for port in 1..=KEPT {
            world.note(&finding(name, port, UndeclaredActive));
        }
    }
    world.knows("web");
    world.note(&finding("web", 80, UndeclaredReachable));
    world.note(&suppressed(finding("web", 81, UndeclaredReachable)));
    world.until("its report", |world| world.summary("web") == Some([0, 0, 1, 1])).await;
    assert_eq!(policies(&world.report("web").expect("a report")).len(), 2);
    world.until("all reports", |world| world.server.objects("reports").len() == crowd.len() + 1).await;
    assert!(crowd.iter().all(|name| world.summary(name) == Some([0, 256, 0, 0])));
}

#[tokio::test]
async fn a_report_that_somebody_deleted_comes_back_though_nothing_changes() {
    let times = portolan::sink::kubernetes::pending_writes::WriteTimings {
        refresh: Duration::from_millis(50),
        renew: Duration::from_millis(200),
        between: Duration::from_millis(20),
        ..SOON
    };
    let mut world = SinkWorld::with(On::Reports, Settings::default(), times, |_| {}).await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredActive));
    world.until("a report", |world| world.report("web").is_some()).await;
    world.server.delete("reports", "shop", "portolan-web");
    world.until("it is back", |world| world.summary("web") == Some([0, 1, 0, 0])).await;
}

#[tokio::test]
async fn a_mirror_that_is_made_anew_gets_its_report_anew() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows_as("hash", "first");
    let found = finding("hash", 9090, UndeclaredActive);
    world.note(&found);
    world.until("a report", |world| world.report("first").is_some()).await;
    world.forgets("hash");
    world.knows_as("hash", "second");
    world.until("another", |world| world.summary("second") == Some([0, 1, 0, 0])).await;
    // Created again so fast that its absence was not seen.
    world.knows_as("hash", "third");
    world.until("and another", |world| world.summary("third") == Some([0, 1, 0, 0])).await;
    // The report was deleted with the mirror, and the next mirror has no finding.
    world.note(&resolved(&found));
    world.knows_as("hash", "fourth");
    world.for_a_while(SOON.between * 2).await;
    assert_eq!(world.report("fourth"), None);
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
    let mut world = SinkWorld::with(On::Reports, Settings::default(), SOON, |server| {
        server.put("reports", left);
    })
    .await;
    world.for_a_while(SOON.seldom * 3).await;
    world.knows("calm");
    world.until("it passes", |world| world.summary("calm") == Some([1, 0, 0, 0])).await;
}
