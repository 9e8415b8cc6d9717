//! An API server that rejects requests: forbidden kinds become unknown, others continue, and retries are rare.

use std::time::Duration;

use portolan::state::{Source, State};
use portolan_testing::api_server::fault::{Fault, On};
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World, pod, service};

async fn refusing(on: On, fault: Fault) -> World {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    server.put("pods", pod("a", NODE).1);
    server.put("services", service("web").1);
    server.fail(on, fault);
    World::of(server, FAST)
}

#[tokio::test]
async fn what_is_forbidden_is_unknown_and_the_rest_goes_on() {
    for (plural, source, code) in [
        ("services", Source::Services, 403),
        ("networkpolicies", Source::NetworkPolicies, 404),
        ("namespaces", Source::Namespaces, 403),
    ] {
        let mut world = refusing(On::Kind(plural), Fault::Status(code)).await;
        world.pods_are(&["a"]).await;
        let state = world.source(source.clone(), |state| state.reason().is_some()).await;
        assert!(state.reason().is_some_and(|reason| reason.contains(&code.to_string())));
        world.server.put("pods", pod("b", NODE).1);
        world.pods_are(&["a", "b"]).await;
        // Requested again at intervals of half to one `seldom`.
        world.server.log().clear();
        world.for_a_while(Duration::from_secs(1)).await;
        let asked = world.requests(plural).len();
        assert!((1..=6).contains(&asked), "{asked} requests for {plural}");
        world.server.heal();
        world.source(source, |state| state.is_up()).await;
    }
}

#[tokio::test]
async fn forbidden_while_running_becomes_unknown() {
    let mut world = World::new([service("web")]).await;
    world.until("a Service", |known| known.services.is_some()).await;
    world.server.fail(On::Kind("services"), Fault::Status(403));
    world.server.cut_connections().await;
    world.until("unknown", |known| known.services.is_none()).await;
    world.server.heal();
    world.until("known", |known| known.services.is_some()).await;
}

#[tokio::test]
async fn forbidden_once_while_running_takes_nothing_away() {
    let mut world = World::new([service("web")]).await;
    world.until("a Service", |known| known.services.is_some()).await;
    for _ in 0..2 {
        world.server.fail_times(1, On::Kind("services"), Fault::Status(403));
        world.server.cut_connections().await;
        world.source(Source::Services, |state| matches!(state, State::Down { .. })).await;
        world.source(Source::Services, |state| state.is_up()).await;
    }
    world.server.put("services", service("db").1);
    world.until("both", |known| known.services.as_ref().is_some_and(|known| known.len() == 2)).await;
    assert_eq!(world.known.unavailable, 0);
}

#[tokio::test]
async fn pods_that_are_forbidden_do_not_stop_the_rest() {
    let mut world = refusing(On::Kind("pods"), Fault::Status(403)).await;
    world.until("Services", |known| known.services.is_some()).await;
    let state = world.source(Source::Pods, |state| state.reason().is_some()).await;
    assert!(
        state.reason().is_some_and(|reason| reason.contains("forbidden")),
        "{:?}",
        world.state(Source::Pods)
    );
}

#[tokio::test]
async fn too_many_requests_waits_as_long_as_it_was_told() {
    let mut world = refusing(On::Kind("services"), Fault::TooMany(1)).await;
    world.source(Source::Services, |state| state.reason().is_some()).await;
    world.server.log().clear();
    world.for_a_while(Duration::from_millis(2500)).await;
    let asked = world.requests("services").len();
    assert!((1..=2).contains(&asked), "{asked}");
    world.server.heal();
    world.source(Source::Services, |state| state.is_up()).await;
}

#[tokio::test]
async fn errors_of_the_server_are_tried_again_less_and_less_often() {
    let mut world = refusing(On::Kind("services"), Fault::Status(500)).await;
    world.pods_are(&["a"]).await;
    world.source(Source::Services, |state| state.reason().is_some()).await;
    world.for_a_while(Duration::from_millis(1500)).await;
    world.server.log().clear();
    world.for_a_while(Duration::from_secs(2)).await;
    // The longest back-off is 400 ms, and its mean 200 ms. Each attempt asks for a streamed list, and then for a list.
    let requests = world.requests("services");
    let asked = requests.iter().filter(|request| !request.query.contains("watch=true")).count();
    assert!((3..=25).contains(&asked), "{asked}");
    world.server.heal();
    world.source(Source::Services, |state| state.is_up()).await;
    world.until("Services", |known| known.services.is_some()).await;
}

#[tokio::test]
async fn a_history_that_is_lost_again_and_again_does_not_make_a_hot_loop() {
    let gone =
        r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
    let mut world = refusing(On::Watches("pods"), Fault::Say(format!("{gone}\n"))).await;
    world.for_a_while(Duration::from_millis(1000)).await;
    world.server.log().clear();
    world.for_a_while(Duration::from_secs(2)).await;
    let asked = world.requests("pods").len();
    assert!((2..=50).contains(&asked), "{asked}");
    world.server.heal();
    world.pods_are(&["a"]).await;
}
