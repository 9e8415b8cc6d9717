//! Which findings get an Event when there is no room, and when the pod of a pending Event is gone.

use std::num::NonZeroU16;
use std::time::Duration;

use portolan_engine::model::finding_code::FindingCode::{UndeclaredActive, UndeclaredExternal};
use portolan_engine::model::identity::{PodUid, Protocol};
use portolan_engine::model::listener::{Declaration, DeclarationStatus, Exposure};
use portolan_engine::model::pod::Workload;
use portolan_engine::model::policy::Policy;
use portolan_engine::model::traffic::Traffic;

use super::*;
use crate::sink::convert::Wall;

/// Returns an open finding about a port of a pod, whose UID equals its name, of a Deployment.
fn finding(pod: &str, deployment: &str, port: u16, code: FindingCode) -> Finding {
    let workload = Workload { kind: "Deployment".to_owned(), name: deployment.to_owned() };
    let declaration = Declaration {
        status: DeclarationStatus::Undeclared,
        declared_by: Vec::new(),
        explained_by: Vec::new(),
    };
    Finding {
        id: format!("{pod}-{port}"),
        state: FindingState::Open,
        code,
        message: String::new(),
        first_seen: at(0),
        last_seen: at(0),
        pod: Some(PodRef {
            namespace: "shop".to_owned(),
            name: pod.to_owned(),
            uid: PodUid(pod.to_owned()),
            workload: Some(workload),
            host_network: false,
            labels: Arc::default(),
            sole_container: None,
        }),
        container: None,
        listener: None,
        protocol: Some(Protocol::Tcp),
        port: NonZeroU16::new(port),
        declaration,
        exposure: Exposure::Pod,
        policy: Policy::default(),
        traffic: Traffic::default(),
        suppressed_by: None,
        changed_at: None,
        previous_code: None,
        opened_at: None,
    }
}

fn resolved(finding: &Finding) -> Finding {
    Finding { state: FindingState::Resolved, ..finding.clone() }
}

fn at(secs: u64) -> BootTime {
    BootTime(0).after(Duration::from_secs(secs))
}

fn events() -> Events {
    Events::new(WriteTimings::default(), "node-1".into())
}

/// Lets the API server know these pods only.
fn settle(events: &mut Events, pods: &[&str], now: BootTime) {
    let known = |uid: &PodUid| {
        let is_known = pods.contains(&uid.0.as_str());
        is_known
            .then(|| (Arc::new(finding(&uid.0, "web", 1, UndeclaredActive).pod.expect("a pod")), uid.clone()))
    };
    events.settle(&known, now);
}

/// Takes every Event that is due, and notes it as written. Returns the names of their pods.
fn written(events: &mut Events, now: BootTime) -> Vec<String> {
    let agent = "node-1".into();
    let mut pods = Vec::new();
    while let Some(request) = events.take(Author { agent: &agent, wall: Wall { unix_ns_at_boot: 0 } }, now) {
        let object: serde_json::Value = serde_json::from_slice(&request.write.object).expect("JSON");
        pods.push(object["regarding"]["name"].as_str().expect("a name").to_owned());
        events.done(request.key, WriteOutcome::Written, now);
    }
    pods
}

#[test]
fn an_event_without_room_is_tried_again_when_there_is_room() {
    let mut events = events();
    let web = finding("web-1", "web", 9090, UndeclaredActive);
    // Its Event was written, and it ended long ago.
    events.note(&web, at(0), 0);
    settle(&mut events, &["web-1"], at(0));
    assert_eq!(written(&mut events, at(60)), ["web-1"]);
    events.note(&resolved(&web), at(60), 0);
    // The pods of these are not known yet, so that their Events wait.
    let others: Vec<Finding> =
        (1_u16..=256).map(|port| finding("db-1", "db", port, UndeclaredExternal)).collect();
    let now = at(60 + 3600);
    others.iter().for_each(|other| events.note(other, now, 0));
    let never_sent = finding("api-1", "api", 9090, UndeclaredActive);
    for without_room in [&web, &never_sent] {
        events.note(without_room, now, 0);
    }
    settle(&mut events, &["web-1", "api-1"], now);
    assert_eq!((written(&mut events, at(3700)).len(), events.limited()), (0, 2));
    for other in others.iter().take(2) {
        events.note(&resolved(other), at(3700), 0);
    }
    // They are reported again, as every open finding is.
    for again in [&web, &never_sent] {
        events.note(again, at(3700), 0);
    }
    settle(&mut events, &["web-1", "api-1"], at(3700));
    let mut pods = written(&mut events, at(3800));
    pods.sort();
    assert_eq!((pods, events.limited()), (vec!["api-1".to_owned(), "web-1".to_owned()], 2));
}

#[test]
fn a_sibling_takes_over_the_pending_event_of_a_pod_that_is_gone() {
    let mut events = events();
    let replica = |pod| finding(pod, "web", 9090, UndeclaredActive);
    events.note(&replica("web-1"), at(0), u64::MAX);
    settle(&mut events, &["web-1", "web-2"], at(0));
    let due = events.next_due();
    assert!(due.is_some());
    events.note(&replica("web-2"), at(1), u64::MAX);
    // The first pod is deleted before its Event is written.
    settle(&mut events, &["web-2"], at(2));
    assert_eq!((events.next_due(), events.pending.len()), (None, 1), "the Event waits for the other pod");
    events.note(&resolved(&replica("web-1")), at(2), 0);
    events.note(&replica("web-2"), at(3), u64::MAX);
    settle(&mut events, &["web-2"], at(3));
    assert_eq!(events.next_due(), due, "it is the same Event, and no later");
    assert_eq!(written(&mut events, at(60)), ["web-2"]);
    // Without another pod, the Event goes with its finding.
    let alone = finding("api-1", "api", 9090, UndeclaredActive);
    events.note(&alone, at(60), 0);
    settle(&mut events, &["api-1"], at(60));
    events.note(&resolved(&alone), at(61), 0);
    settle(&mut events, &[], at(61));
    assert_eq!((events.next_due(), events.pending.len()), (None, 0));
}
