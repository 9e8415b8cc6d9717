//! Reports at the API server: their content, when they are written, and a server that rejects them or is down.

use std::time::Duration;

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::FindingCode::{
    OpaqueRuntime, UndeclaredActive, UndeclaredExternal, UndeclaredLoopback, UndeclaredReachable,
};
use portolan_testing::api_server::fault::{Fault, On as Requests};
use portolan_testing::api_server::server::Settings;
use serde_json::json;

use crate::sink_world::{On, SOON, SinkWorld, finding, resolved};

#[tokio::test]
async fn a_finding_makes_a_report_that_its_pod_owns() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredActive));
    world.note(&finding("web", 5000, UndeclaredReachable));
    world.note(&finding("web", 5001, UndeclaredLoopback));
    world.note(&finding("web", 5002, OpaqueRuntime));
    world.note(&Finding { state: FindingState::Suppressed, ..finding("web", 5003, UndeclaredExternal) });
    world.until("a report", |world| world.report("web").is_some()).await;
    let report = world.report("web").expect("a report");
    assert_eq!(report["metadata"]["namespace"], "shop");
    assert_eq!(
        report["metadata"]["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "web"}])
    );
    assert_eq!(report["metadata"]["labels"]["portolan.dev/node"], "node-1");
    assert_eq!(
        report["scope"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "web"})
    );
    assert_eq!(world.summary("web"), Some([0, 1, 2, 2]));
    let first = &report["results"][0];
    assert_eq!(
        (&first["policy"], &first["rule"], &first["result"], &first["severity"]),
        (&json!("undeclared-active"), &json!("9090/TCP"), &json!("fail"), &json!("high"))
    );
    assert_eq!(first["properties"]["process"], "python3");
    assert_eq!(first["properties"]["connections"], "3");
    let writes = world.writes();
    assert_eq!((writes.len(), writes[0].method.as_str(), writes[0].status), (1, "PATCH", 201));
    assert_eq!(writes[0].parameter("fieldManager"), "portolan");
    assert_eq!(world.reason(), None);
}

#[tokio::test]
async fn a_static_pod_is_known_by_its_mirror() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows_as("hash", "mirror");
    world.note(&finding("hash", 9090, UndeclaredActive));
    world.until("a report", |world| world.report("mirror").is_some()).await;
    let report = world.report("mirror").expect("a report");
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "mirror");
}

#[tokio::test]
async fn of_many_changes_the_last_is_written_once() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    for port in 1..=20 {
        world.note(&finding("web", port, UndeclaredReachable));
    }
    world.until("the first", |world| world.summary("web") == Some([0, 0, 20, 0])).await;
    for port in 21..=40 {
        world.note(&finding("web", port, UndeclaredReachable));
        world.for_a_while(Duration::from_millis(5)).await;
    }
    world.until("the last", |world| world.summary("web") == Some([0, 0, 40, 0])).await;
    // Two writes, or more on a machine that is so busy that the changes take longer than the pause between writes.
    let writes = world.writes();
    let pauses =
        writes[writes.len() - 1].at.saturating_sub(writes[0].at).as_millis() / SOON.between.as_millis();
    let most = usize::try_from(pauses).expect("few") + 1;
    assert!((2..=most).contains(&writes.len()), "{} writes for 20 changes", writes.len());
    for pair in writes.windows(2) {
        assert!(pair[1].at.saturating_sub(pair[0].at) >= SOON.between);
    }
    // New counts alone, or a reverted change, cause no write.
    let mut called = finding("web", 1, UndeclaredReachable);
    called.traffic.connections = 99;
    "another message".clone_into(&mut called.message);
    world.note(&called);
    world.note(&finding("web", 41, UndeclaredReachable));
    world.note(&resolved(&finding("web", 41, UndeclaredReachable)));
    world.for_a_while(SOON.between * 2).await;
    assert_eq!(world.writes().len(), writes.len());
}

#[tokio::test]
async fn results_are_bounded_the_worst_first_and_the_rest_is_summed_up() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    for port in 1..=199 {
        world.note(&finding("web", port, UndeclaredReachable));
    }
    world.note(&finding("web", 9090, UndeclaredExternal));
    world.until("a report", |world| world.summary("web") == Some([0, 1, 199, 0])).await;
    let report = world.report("web").expect("a report");
    assert_eq!(report["results"].as_array().map(Vec::len), Some(64));
    assert_eq!(report["results"][0]["policy"], "undeclared-external");
    assert_eq!(report["metadata"]["annotations"]["portolan.dev/results-not-listed"], "136");
    assert!(world.writes()[0].body.len() < 64 * 1024);
}

#[tokio::test]
async fn without_findings_any_more_it_passes_and_without_its_pod_it_is_left_alone() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("web");
    let found = finding("web", 9090, UndeclaredActive);
    world.note(&found);
    world.until("a report", |world| world.summary("web") == Some([0, 1, 0, 0])).await;
    world.note(&resolved(&found));
    world.until("it passes", |world| world.summary("web") == Some([1, 0, 0, 0])).await;
    assert_eq!(world.report("web").expect("a report")["results"][0]["result"], "pass");
    let writes = world.writes().len();
    world.note(&found);
    world.forgets("web");
    world.note(&resolved(&found));
    world.for_a_while(SOON.between * 2).await;
    assert_eq!(world.writes().len(), writes);
}

#[tokio::test]
async fn a_pod_waits_for_the_api_server_to_know_it_and_without_findings_nothing_is_written() {
    let mut world = SinkWorld::new(On::Reports).await;
    world.knows("calm");
    let brief = finding("calm", 80, UndeclaredActive);
    world.note(&brief);
    world.note(&resolved(&brief));
    world.note(&finding("web", 9090, UndeclaredActive));
    world.note(&Finding { pod: None, ..finding("nobody", 9090, UndeclaredActive) });
    world.for_a_while(Duration::from_millis(300)).await;
    assert!(world.writes().is_empty());
    world.knows("web");
    world.until("a report", |world| world.report("web").is_some()).await;
    assert_eq!(world.writes().len(), 1);
}

#[tokio::test]
async fn where_the_kind_is_not_installed_that_is_said_and_seldom_asked_again() {
    let settings = Settings { absent_groups: vec!["openreports.io"], ..Settings::default() };
    let mut world = SinkWorld::with(On::Reports, settings, SOON, |_| {}).await;
    for name in ["a", "b", "c", "d", "e"] {
        world.knows(name);
        world.note(&finding(name, 9090, UndeclaredActive));
    }
    world.until("it is said", |world| world.reason().is_some()).await;
    let reason = world.reason().expect("a reason");
    assert!(reason.contains("404") && reason.contains("is the kind installed?"), "{reason}");
    world.for_a_while(Duration::from_millis(1000)).await;
    let asked = world.writes().len();
    assert!((1..=5).contains(&asked), "{asked} writes for five pods");
    world.server.change_settings(|settings| settings.absent_groups.clear());
    world.until("all reports", |world| world.server.objects("reports").len() == 5).await;
    world.until("it works", |world| world.reason().is_none()).await;
}

#[tokio::test]
async fn what_is_forbidden_is_said_with_the_rights_that_are_missing() {
    let mut world = SinkWorld::with(On::Reports, Settings::default(), SOON, |server| {
        server.fail(Requests::Writes("reports"), Fault::Status(403));
    })
    .await;
    for name in ["a", "b", "c", "d", "e"] {
        world.knows(name);
        world.note(&finding(name, 9090, UndeclaredActive));
    }
    world.until("it is said", |world| world.reason().is_some()).await;
    let reason = world.reason().expect("a reason");
    assert!(reason.contains("cannot patch resource") && reason.contains("create and patch"), "{reason}");
    world.server.heal();
    world.until("all reports", |world| world.server.objects("reports").len() == 5).await;
    world.until("it works", |world| world.reason().is_none()).await;
}

#[tokio::test]
async fn a_server_that_comes_back_gets_the_state_of_now_bit_by_bit() {
    let times = portolan::sink::kubernetes::pending_writes::WriteTimings {
        report_every: Duration::from_millis(50),
        ..SOON
    };
    let mut world = SinkWorld::with(On::Reports, Settings::default(), times, |_| {}).await;
    let names: Vec<String> = (0..20).map(|n| format!("pod-{n}")).collect();
    for name in &names {
        world.knows(name);
    }
    world.server.turn_away().await;
    for name in &names {
        world.note(&finding(name, 80, UndeclaredActive));
        world.note(&finding(name, 81, UndeclaredReachable));
    }
    world.until("trouble is told", |world| world.reason().is_some()).await;
    world.server.log().clear();
    world.for_a_while(Duration::from_secs(1)).await;
    let comers = world.server.log().times().len();
    assert!(comers <= 20, "{comers} tries in a second");
    for name in &names {
        world.note(&resolved(&finding(name, 81, UndeclaredReachable)));
    }
    world.server.log().clear();
    world.server.come_back().await;
    world.until("all reports", |world| world.server.objects("reports").len() == 20).await;
    assert!(names.iter().all(|name| world.summary(name) == Some([0, 1, 0, 0])));
    world.until("it works", |world| world.reason().is_none()).await;
    let writes: Vec<_> = world.writes().into_iter().filter(|request| request.status == 201).collect();
    assert_eq!(writes.len(), 20);
    let took = writes[19].at.saturating_sub(writes[0].at);
    assert!(took >= Duration::from_millis(800), "twenty reports in {took:?}");
}

#[tokio::test]
async fn a_namespace_that_is_going_is_no_fault() {
    let mut world = SinkWorld::with(On::Reports, Settings::default(), SOON, |server| {
        let going = json!({"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}});
        server.put("namespaces", going);
    })
    .await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredActive));
    world.until("a try", |world| !world.writes().is_empty()).await;
    world.for_a_while(Duration::from_millis(100)).await;
    assert_eq!((world.writes()[0].status, world.reason()), (403, None));
}

#[tokio::test]
async fn what_an_agent_before_left_is_mended() {
    let left = |uid: &str, node: &str| {
        json!({
            "metadata": {
                "namespace": "shop", "name": format!("portolan-{uid}"),
                "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/node": node},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid}],
                "managedFields": [{"manager": "portolan", "operation": "Apply"}],
            },
            "summary": {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0},
        })
    };
    let mut world = SinkWorld::with(On::Reports, Settings::default(), SOON, |server| {
        for (uid, node) in [("calm", "node-1"), ("busy", "node-1"), ("mirror", "node-1"), ("far", "node-2")] {
            server.put("reports", left(uid, node));
        }
    })
    .await;
    world.knows("calm");
    world.knows("busy");
    world.knows("far");
    world.knows_as("hash", "mirror");
    world.note(&finding("busy", 80, UndeclaredReachable));
    world.note(&finding("hash", 80, UndeclaredReachable));
    world.until("it passes", |world| world.summary("calm") == Some([1, 0, 0, 0])).await;
    world.for_a_while(SOON.between * 2).await;
    assert_eq!(world.summary("busy"), Some([0, 0, 1, 0]));
    assert_eq!(world.summary("mirror"), Some([0, 0, 1, 0]));
    assert_eq!(world.summary("far"), Some([0, 1, 0, 0]));
    assert_eq!(world.writes().len(), 3);
}

#[tokio::test]
async fn what_the_server_finds_wrong_is_said_and_the_others_go_on() {
    let mut world = SinkWorld::with(On::Reports, Settings::default(), SOON, |server| {
        server.fail_times(1, Requests::Writes("reports"), Fault::Status(422));
    })
    .await;
    for name in ["a", "b"] {
        world.knows(name);
        world.note(&finding(name, 9090, UndeclaredActive));
    }
    world.until("both in the end", |world| world.server.objects("reports").len() == 2).await;
    assert_eq!(world.sinks.totals()[0].refused, 1);
}

#[tokio::test]
async fn nothing_is_written_where_nothing_is_on() {
    let mut world = SinkWorld::new(On::Nothing).await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredExternal));
    world.for_a_while(Duration::from_millis(300)).await;
    assert!(world.server.log().all().is_empty() && world.sinks.totals().is_empty());
}
