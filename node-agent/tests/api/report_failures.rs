//! Reports that the server rejects: a forbidden namespace does not block others, and its reason is reported once and only
//! while a report waits.

use std::time::Duration;

use portolan::sink::kubernetes::pending_writes::WriteTimings;
use portolan_engine::model::finding_code::FindingCode::UndeclaredActive;
use portolan_testing::api_server::fault::{Fault, On as Requests};
use portolan_testing::api_server::log::Request;
use portolan_testing::api_server::server::{Server, Settings};
use serde_json::json;

use crate::sink_world::{On, SOON, SinkWorld, finding, resolved, within};
use crate::world::{FAST, NODE};

/// Rejected writes are not retried within a test.
const ONCE: WriteTimings = WriteTimings { seldom: Duration::from_secs(3600), ..SOON };

async fn world_with(times: WriteTimings, prepare: impl FnOnce(&Server)) -> SinkWorld {
    SinkWorld::with(On::Reports, Settings::default(), times, prepare).await
}

fn forbid_all(server: &Server) {
    server.fail(Requests::Writes("reports"), Fault::Status(403));
}

fn forbid_locked(server: &Server) {
    server.fail(Requests::WritesIn("reports", "locked"), Fault::Status(403));
}

fn refused(world: &SinkWorld) -> Vec<Request> {
    world.writes().into_iter().filter(|request| request.status == 403).collect()
}

#[tokio::test]
async fn what_one_namespace_forbids_does_not_stop_the_others() {
    let mut world = world_with(ONCE, forbid_locked).await;
    for name in ["a", "b", "c", "d"] {
        world.knows(name);
        world.note(&within("locked", finding(name, 9090, UndeclaredActive)));
    }
    world.until("it is said", |world| world.reason().is_some()).await;
    for name in ["e", "f"] {
        world.knows(name);
        world.note(&finding(name, 9090, UndeclaredActive));
    }
    world.until("the others", |world| world.server.objects("reports").len() == 2).await;
    world.for_a_while(SOON.between * 2).await;
    assert_eq!((refused(&world).len(), world.sinks.totals()[0].refused), (1, 1));
    let reason = world.reason().expect("a reason");
    assert!(reason.contains("in the namespace \"locked\"") && !reason.contains("portolan-"), "{reason}");
}

#[tokio::test]
async fn a_refusal_is_said_once_whatever_is_refused_next() {
    let mut world = world_with(SOON, forbid_locked).await;
    for name in ["a", "b", "c"] {
        world.knows(name);
        world.note(&within("locked", finding(name, 9090, UndeclaredActive)));
    }
    world.until("it is said", |world| world.reason().is_some()).await;
    let reason = world.reason();
    world
        .until("more refusals", |world| {
            assert_eq!(world.reason(), reason);
            refused(world).len() >= 3
        })
        .await;
    world.server.heal();
    world.until("it works", |world| world.reason().is_none()).await;
    world.until("all reports", |world| world.server.objects("reports").len() == 3).await;
}

#[tokio::test]
async fn where_every_namespace_forbids_it_few_are_asked() {
    let mut world = world_with(ONCE, forbid_all).await;
    for (name, namespace) in [("a", "n1"), ("b", "n2"), ("c", "n3"), ("d", "n4"), ("e", "n5"), ("f", "n6")] {
        world.knows(name);
        world.note(&within(namespace, finding(name, 9090, UndeclaredActive)));
    }
    world.until("all were asked", |world| refused(world).len() == 6).await;
    let at: Vec<Duration> = refused(&world).iter().map(|request| request.at).collect();
    for pair in at[2..].windows(2) {
        assert!(pair[1].saturating_sub(pair[0]) >= FAST.most, "{at:?}");
    }
}

#[tokio::test]
async fn what_nothing_waits_for_any_more_is_no_trouble() {
    let mut world = world_with(ONCE, forbid_all).await;
    world.knows("web");
    let found = finding("web", 9090, UndeclaredActive);
    world.note(&found);
    world.until("it is said", |world| world.reason().is_some()).await;
    world.note(&resolved(&found));
    world.until("nothing is wrong", |world| world.reason().is_none()).await;
    world.note(&found);
    world.until("it is said again", |world| world.reason().is_some()).await;
    assert_eq!(refused(&world).len(), 1);
    world.forgets("web");
    world.until("nothing is wrong", |world| world.reason().is_none()).await;
}

#[tokio::test]
async fn an_answer_ends_the_trouble_also_where_it_is_a_refusal() {
    let mut world = world_with(ONCE, |server| {
        let going = json!({"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}});
        server.put("namespaces", going);
        server.fail_times(2, Requests::Writes("reports"), Fault::Status(503));
    })
    .await;
    world.knows("web");
    world.note(&finding("web", 9090, UndeclaredActive));
    world.until("trouble", |world| world.reason().is_some()).await;
    world.until("an answer", |world| !refused(world).is_empty()).await;
    world.until("nothing is wrong", |world| world.reason().is_none()).await;
}

/// Returns a report as the agent of a node leaves it.
fn left_by(node: &str, name: &str) -> serde_json::Value {
    json!({"metadata": {
        "namespace": "shop", "name": name,
        "labels": {"app.kubernetes.io/managed-by": "portolan", "portolan.dev/node": node},
    }})
}

#[tokio::test]
async fn without_reports_those_of_an_earlier_agent_of_this_node_are_removed() {
    let prepare = |server: &Server| {
        server.put("reports", left_by(NODE, "portolan-a"));
        server.put("reports", left_by(NODE, "portolan-b"));
        server.put("reports", left_by("node-2", "portolan-c"));
        server.put("reports", json!({"metadata": {"namespace": "shop", "name": "of-another-tool"}}));
        // A server that is away at first is asked again.
        server.fail_times(1, Requests::Lists("reports"), Fault::Status(503));
        server.fail_times(1, Requests::Writes("reports"), Fault::Status(503));
    };
    let world = SinkWorld::with(On::Removal, Settings::default(), SOON, prepare).await;
    world.until("two reports are left", |world| world.server.objects("reports").len() == 2).await;
    let names: Vec<_> =
        world.server.objects("reports").iter().map(|one| one["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["of-another-tool", "portolan-c"]);
}

#[tokio::test]
async fn without_the_permission_earlier_reports_stay_and_nothing_is_asked_again() {
    for (on, asked) in [(Requests::Lists("reports"), 1), (Requests::Writes("reports"), 2)] {
        let prepare = |server: &Server| {
            server.put("reports", left_by(NODE, "portolan-a"));
            server.put("reports", left_by(NODE, "portolan-b"));
            server.fail(on.clone(), Fault::Status(403));
        };
        let world = SinkWorld::with(On::Removal, Settings::default(), SOON, prepare).await;
        world.for_a_while(Duration::from_millis(300)).await;
        assert_eq!((world.server.objects("reports").len(), world.server.log().all().len()), (2, asked));
    }
}
