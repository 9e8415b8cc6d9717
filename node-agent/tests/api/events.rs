//! Events at the API server: each new high and critical finding once.

use std::time::Duration;

use portolan_engine::model::finding_code::FindingCode::{
    UndeclaredActive, UndeclaredExternal, UndeclaredReachable,
};
use portolan_testing::api_server::fault::{Fault, On as Requests};
use portolan_testing::api_server::server::Settings;
use serde_json::json;

use crate::desk::{Desk, On, SOON, finding, resolved};

#[tokio::test]
async fn what_is_bad_and_new_is_told_once() {
    let mut desk = Desk::new(On::Events).await;
    desk.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    desk.note(&finding("web", 5000, UndeclaredReachable));
    desk.note(&active);
    desk.until("an Event", |desk| !desk.server.objects("events").is_empty()).await;
    // Told again by the engine, gone and back within the hour: the same finding.
    desk.note(&active);
    desk.note(&resolved(&active));
    desk.note(&active);
    desk.for_a_while(Duration::from_millis(200)).await;
    let events = desk.server.objects("events");
    assert_eq!((events.len(), desk.writes().len()), (1, 1));
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
    // Worse is news.
    desk.note(&finding("web", 9090, UndeclaredExternal));
    desk.until("another", |desk| desk.server.objects("events").len() == 2).await;
}

#[tokio::test]
async fn what_ends_while_its_event_is_on_its_way_is_news_when_it_is_back() {
    let times = portolan::sink::kubernetes::desk::Times { told_for: Duration::ZERO, ..SOON };
    let mut desk = Desk::with(On::Events, Settings::default(), times, |server| {
        server.fail_times(1, Requests::Writes("events"), Fault::Silence);
    })
    .await;
    desk.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    desk.note(&active);
    desk.until("a try", |desk| desk.writes().len() == 1).await;
    desk.note(&resolved(&active));
    desk.until("it is told", |desk| desk.sinks.done()[0].written == 1).await;
    desk.note(&active);
    desk.until("it is told again", |desk| desk.writes().len() == 2).await;
}

#[tokio::test]
async fn what_ended_before_its_event_arrived_is_not_told_late() {
    let mut desk = Desk::with(On::Events, Settings::default(), SOON, |server| {
        server.fail_times(1, Requests::Writes("events"), Fault::Stall);
    })
    .await;
    desk.knows("web");
    let active = finding("web", 9090, UndeclaredActive);
    desk.note(&active);
    desk.until("a try", |desk| desk.writes().len() == 1).await;
    desk.note(&resolved(&active));
    desk.until("it failed", |desk| desk.sinks.done()[0].failed == 1).await;
    desk.until("nothing is wrong", |desk| desk.reason().is_none()).await;
    desk.for_a_while(Duration::from_millis(500)).await;
    assert_eq!(desk.writes().len(), 1);
    // It is back: that is news.
    desk.note(&active);
    desk.until("an Event", |desk| desk.server.objects("events").len() == 1).await;
}

#[tokio::test]
async fn what_an_agent_before_told_is_not_told_again() {
    let mut desk = Desk::new(On::Events).await;
    desk.knows("web");
    desk.server
        .put("events", json!({"metadata": {"namespace": "shop", "name": "web.web-9090.undeclared-active"}}));
    desk.note(&finding("web", 9090, UndeclaredActive));
    desk.until("a try", |desk| !desk.writes().is_empty()).await;
    desk.for_a_while(Duration::from_millis(200)).await;
    assert_eq!((desk.writes().len(), desk.writes()[0].status, desk.reason()), (1, 409, None));
}

#[tokio::test]
async fn an_event_waits_for_its_pod_and_for_the_server_and_goes_with_its_finding() {
    let mut desk = Desk::new(On::Events).await;
    let brief = finding("web", 80, UndeclaredActive);
    desk.note(&brief);
    desk.note(&finding("web", 9090, UndeclaredActive));
    desk.note(&resolved(&brief));
    desk.for_a_while(Duration::from_millis(100)).await;
    assert!(desk.writes().is_empty());
    desk.server.fail_times(3, Requests::Writes("events"), Fault::TooMany(0));
    desk.knows("web");
    desk.until("an Event", |desk| !desk.server.objects("events").is_empty()).await;
    assert_eq!(desk.server.objects("events").len(), 1);
    assert_eq!(desk.sinks.done()[0].failed, 3);
}

#[tokio::test]
async fn events_are_forbidden_with_the_right_that_is_missing() {
    let mut desk = Desk::with(On::Events, Settings::default(), SOON, |server| {
        server.fail(Requests::Writes("events"), Fault::Status(403));
    })
    .await;
    desk.knows("web");
    desk.note(&finding("web", 9090, UndeclaredActive));
    desk.until("it is said", |desk| desk.reason().is_some()).await;
    let reason = desk.reason().expect("a reason");
    assert!(
        reason.contains("cannot create resource \"events\"") && reason.contains("events.k8s.io"),
        "{reason}"
    );
    desk.server.heal();
    desk.until("an Event", |desk| !desk.server.objects("events").is_empty()).await;
}

#[tokio::test]
async fn a_storm_of_findings_makes_events_at_a_bounded_rate() {
    let times =
        portolan::sink::kubernetes::desk::Times { event_every: Duration::from_millis(100), burst: 5, ..SOON };
    let mut desk = Desk::with(On::Events, Settings::default(), times, |_| {}).await;
    desk.knows("web");
    for port in 1..=600 {
        desk.note(&finding("web", port, UndeclaredActive));
    }
    desk.note(&finding("web", 601, UndeclaredExternal));
    desk.until("some", |desk| desk.writes().len() >= 10).await;
    let writes = desk.writes();
    let took = writes[9].at.saturating_sub(writes[0].at);
    assert!(took >= Duration::from_millis(400), "ten Events in {took:?}");
    assert!(writes.iter().take(10).any(|write| write.body.contains("UndeclaredExternal")), "the worst first");
    let done = desk.sinks.done()[0];
    assert_eq!(done.limited, 601 - 256);
}
