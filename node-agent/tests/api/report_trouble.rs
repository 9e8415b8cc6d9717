//! Reports that the server does not take: what one namespace forbids stops no other, is said once, and only as long as
//! something waits for it.

use std::time::Duration;

use portolan::sink::kubernetes::desk::Times;
use portolan_engine::model::finding_code::FindingCode::UndeclaredActive;
use portolan_testing::api_server::fault::{Fault, On as Requests};
use portolan_testing::api_server::log::Request;
use portolan_testing::api_server::server::{Server, Settings};
use serde_json::json;

use crate::desk::{Desk, On, SOON, finding, resolved, within};
use crate::world::FAST;

/// What is refused is not tried again within a test.
const ONCE: Times = Times { seldom: Duration::from_secs(3600), ..SOON };

async fn desk(times: Times, prepare: impl FnOnce(&Server)) -> Desk {
    Desk::with(On::Reports, Settings::default(), times, prepare).await
}

fn forbid_all(server: &Server) {
    server.fail(Requests::Writes("reports"), Fault::Status(403));
}

fn forbid_locked(server: &Server) {
    server.fail(Requests::WritesIn("reports", "locked"), Fault::Status(403));
}

fn refused(desk: &Desk) -> Vec<Request> {
    desk.writes().into_iter().filter(|request| request.status == 403).collect()
}

#[tokio::test]
async fn what_one_namespace_forbids_does_not_stop_the_others() {
    let mut desk = desk(ONCE, forbid_locked).await;
    for name in ["a", "b", "c", "d"] {
        desk.knows(name);
        desk.note(&within("locked", finding(name, 9090, UndeclaredActive)));
    }
    desk.until("it is said", |desk| desk.reason().is_some()).await;
    for name in ["e", "f"] {
        desk.knows(name);
        desk.note(&finding(name, 9090, UndeclaredActive));
    }
    desk.until("the others", |desk| desk.server.objects("reports").len() == 2).await;
    desk.for_a_while(SOON.between * 2).await;
    assert_eq!((refused(&desk).len(), desk.sinks.done()[0].refused), (1, 1));
    let reason = desk.reason().expect("a reason");
    assert!(reason.contains("in the namespace \"locked\"") && !reason.contains("portolan-"), "{reason}");
}

#[tokio::test]
async fn a_refusal_is_said_once_whatever_is_refused_next() {
    let mut desk = desk(SOON, forbid_locked).await;
    for name in ["a", "b", "c"] {
        desk.knows(name);
        desk.note(&within("locked", finding(name, 9090, UndeclaredActive)));
    }
    desk.until("it is said", |desk| desk.reason().is_some()).await;
    let reason = desk.reason();
    desk.until("more refusals", |desk| {
        assert_eq!(desk.reason(), reason);
        refused(desk).len() >= 3
    })
    .await;
    desk.server.heal();
    desk.until("it works", |desk| desk.reason().is_none()).await;
    desk.until("all reports", |desk| desk.server.objects("reports").len() == 3).await;
}

#[tokio::test]
async fn where_every_namespace_forbids_it_few_are_asked() {
    let mut desk = desk(ONCE, forbid_all).await;
    for (name, namespace) in [("a", "n1"), ("b", "n2"), ("c", "n3"), ("d", "n4"), ("e", "n5"), ("f", "n6")] {
        desk.knows(name);
        desk.note(&within(namespace, finding(name, 9090, UndeclaredActive)));
    }
    desk.until("all were asked", |desk| refused(desk).len() == 6).await;
    let at: Vec<Duration> = refused(&desk).iter().map(|request| request.at).collect();
    for pair in at[2..].windows(2) {
        assert!(pair[1].saturating_sub(pair[0]) >= FAST.most, "{at:?}");
    }
}

#[tokio::test]
async fn what_nothing_waits_for_any_more_is_no_trouble() {
    let mut desk = desk(ONCE, forbid_all).await;
    desk.knows("web");
    let found = finding("web", 9090, UndeclaredActive);
    desk.note(&found);
    desk.until("it is said", |desk| desk.reason().is_some()).await;
    desk.note(&resolved(&found));
    desk.until("nothing is wrong", |desk| desk.reason().is_none()).await;
    desk.note(&found);
    desk.until("it is said again", |desk| desk.reason().is_some()).await;
    assert_eq!(refused(&desk).len(), 1);
    desk.forgets("web");
    desk.until("nothing is wrong", |desk| desk.reason().is_none()).await;
}

#[tokio::test]
async fn an_answer_ends_the_trouble_also_where_it_is_a_refusal() {
    let mut desk = desk(ONCE, |server| {
        let going = json!({"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}});
        server.put("namespaces", going);
        server.fail_times(2, Requests::Writes("reports"), Fault::Status(503));
    })
    .await;
    desk.knows("web");
    desk.note(&finding("web", 9090, UndeclaredActive));
    desk.until("trouble", |desk| desk.reason().is_some()).await;
    desk.until("an answer", |desk| !refused(desk).is_empty()).await;
    desk.until("nothing is wrong", |desk| desk.reason().is_none()).await;
}
