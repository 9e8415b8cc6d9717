//! Events at the API server: one for each new finding of high or critical severity.

use std::time::Duration;

use portolan_engine::model::finding::Finding;
use portolan_engine::model::finding_code::FindingCode::{
    UndeclaredActive, UndeclaredExternal, UndeclaredReachable,
};
use portolan_engine::model::pod::Workload;
use portolan_testing::api_server::fault::{Fault, On as Requests};
use portolan_testing::api_server::server::Settings;
use serde_json::json;

use crate::sink_world::{On, SOON, SinkWorld, finding, resolved};

#[tokio::test]
async fn what_is_bad_and_new_is_told_once() {
    let mut world = SinkWorld::new(On::Events).await;
    world.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    world.note(&finding("web", 5000, UndeclaredReachable));
    world.note(&active);
    world.until("an Event", |world| !world.server.objects("events").is_empty()).await;
    // A finding that is repeated, or ends and returns within the hour, causes no second Event.
    world.note(&active);
    world.note(&resolved(&active));
    world.note(&active);
    world.for_a_while(Duration::from_millis(200)).await;
    let events = world.server.objects("events");
    assert_eq!((events.len(), world.writes().len()), (1, 1));
    let event = &events[0];
    assert_eq!(
        (&event["reason"], &event["type"], &event["reportingController"], &event["reportingInstance"]),
        (&json!("UndeclaredActive"), &json!("Warning"), &json!("portolan.dev/agent"), &json!("node-1"))
    );
    assert_eq!(event["note"], active.message);
    assert_eq!(
        event["regarding"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "web"})
    );
    // A worse code causes another Event.
    world.note(&finding("web", 9090, UndeclaredExternal));
    world.until("another", |world| world.server.objects("events").len() == 2).await;
}

/// Returns the finding of a pod of the Deployment `web`.
fn of_replica(pod: &str) -> Finding {
    let mut finding = finding(pod, 9090, UndeclaredActive);
    if let Some(pod) = &mut finding.pod {
        pod.workload = Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() });
    }
    finding
}

#[tokio::test]
async fn the_pods_of_a_workload_share_an_event_and_a_rollout_causes_none() {
    let mut world = SinkWorld::new(On::Events).await;
    let pods = |generation: &str| (0..50).map(|n| format!("web-{generation}-{n}")).collect::<Vec<_>>();
    let (old, new) = (pods("a"), pods("b"));
    old.iter().chain(&new).for_each(|pod| world.knows(pod));
    old.iter().for_each(|pod| world.note(&of_replica(pod)));
    world.until("an Event", |world| !world.server.objects("events").is_empty()).await;
    for (old, new) in old.iter().zip(&new) {
        world.note(&of_replica(new));
        world.note(&resolved(&of_replica(old)));
    }
    // A rollout that ends all pods before it starts new ones.
    new.iter().for_each(|pod| world.note(&resolved(&of_replica(pod))));
    old.iter().for_each(|pod| world.note(&of_replica(pod)));
    world.for_a_while(Duration::from_millis(300)).await;
    assert_eq!((world.server.objects("events").len(), world.writes().len()), (1, 1));
    // Another port of the same workload has an Event of its own.
    world.note(&finding(&old[0], 9091, UndeclaredActive));
    world.until("another", |world| world.server.objects("events").len() == 2).await;
}

#[tokio::test]
async fn what_ends_while_its_event_is_on_its_way_is_news_when_it_is_back() {
    let times =
        portolan::sink::kubernetes::pending_writes::WriteTimings { event_repeat: Duration::ZERO, ..SOON };
    let mut world = SinkWorld::with(On::Events, Settings::default(), times, |server| {
        server.fail_times(1, Requests::Writes("events"), Fault::Silence);
    })
    .await;
    world.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    world.note(&active);
    world.until("a try", |world| world.writes().len() == 1).await;
    world.note(&resolved(&active));
    world.until("it is told", |world| world.sinks.totals()[0].written == 1).await;
    world.note(&active);
    world.until("it is told again", |world| world.writes().len() == 2).await;
}

#[tokio::test]
async fn what_ended_before_its_event_arrived_is_not_told_late() {
    let mut world = SinkWorld::with(On::Events, Settings::default(), SOON, |server| {
        server.fail_times(1, Requests::Writes("events"), Fault::Stall);
    })
    .await;
    world.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    world.note(&active);
    world.until("a try", |world| world.writes().len() == 1).await;
    world.note(&resolved(&active));
    world.until("it failed", |world| world.sinks.totals()[0].failed == 1).await;
    world.until("nothing is wrong", |world| world.reason().is_none()).await;
    world.for_a_while(Duration::from_millis(500)).await;
    assert_eq!(world.writes().len(), 1);
    // The finding is back: it needs an Event.
    world.note(&active);
    world.until("an Event", |world| world.server.objects("events").len() == 1).await;
}

#[tokio::test]
async fn what_an_agent_before_told_is_not_told_again() {
    let mut world = SinkWorld::new(On::Events).await;
    world.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    let fingerprint = portolan::sink::convert::workload_port::of_finding(&active, "node-1");
    let name = format!("portolan.{fingerprint}.undeclared-active");
    world.server.put("events", json!({"metadata": {"namespace": "shop", "name": name}}));
    world.note(&active);
    world.until("a try", |world| !world.writes().is_empty()).await;
    world.for_a_while(Duration::from_millis(200)).await;
    assert_eq!((world.writes().len(), world.writes()[0].status, world.reason()), (1, 409, None));
}

#[tokio::test]
async fn an_event_waits_for_its_pod_and_for_the_server_and_goes_with_its_finding() {
    let mut world = SinkWorld::new(On::Events).await;
    let brief = finding("web", 80, UndeclaredActive);
    world.note(&brief);
    world.note(&finding("web", 9090, UndeclaredActive));
    world.note(&resolved(&brief));
    world.for_a_while(Duration::from_millis(100)).await;
    assert!(world.writes().is_empty());
    world.server.fail_times(3, Requests::Writes("events"), Fault::TooMany(0));
    world.knows("web");
    world.until("an Event", |world| !world.server.objects("events").is_empty()).await;
    assert_eq!(world.server.objects("events").len(), 1);
    assert_eq!(world.sinks.totals()[0].failed, 3);
}

#[tokio::test]
async fn events_are_forbidden_with_the_right_that_is_missing() {
    let mut world = SinkWorld::with(On::Events, Settings::default(), SOON, |server| {
        server.fail(Requests::Writes("events"), Fault::Status(403));
    })
    .await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredActive));
    world.until("it is said", |world| world.reason().is_some()).await;
    let reason = world.reason().expect("a reason");
    assert!(
        reason.contains("cannot create resource \"events\"") && reason.contains("events.k8s.io"),
        "{reason}"
    );
    world.server.heal();
    world.until("an Event", |world| !world.server.objects("events").is_empty()).await;
}

#[tokio::test]
async fn a_storm_of_findings_makes_events_at_a_bounded_rate() {
    let times = portolan::sink::kubernetes::pending_writes::WriteTimings {
        event_every: Duration::from_millis(100),
        burst: 5,
        ..SOON
    };
    let mut world = SinkWorld::with(On::Events, Settings::default(), times, |_| {}).await;
    world.knows("web");
    for port in 1..=600 {
        world.note(&finding("web", port, UndeclaredActive));
    }
    world.note(&finding("web", 601, UndeclaredExternal));
    world.until("some", |world| world.writes().len() >= 10).await;
    let writes = world.writes();
    let took = writes[9].at.saturating_sub(writes[0].at);
    assert!(took >= Duration::from_millis(400), "ten Events in {took:?}");
    assert!(writes.iter().take(10).any(|write| write.body.contains("UndeclaredExternal")), "the worst first");
    let done = world.sinks.totals()[0];
    assert_eq!(done.limited, 601 - 256);
}
