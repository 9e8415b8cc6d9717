//! Answers that a real API server gives and that once stopped the agent: the form of a watch, watches that end at once, a store
//! without progress, empty lists.

use std::time::Duration;

use portolan::source::kubernetes::access_check::check_all;
use portolan::state::{Source, State};
use portolan_testing::api_server::fault::{Fault, On, StreamedLists};
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::json;

use crate::world::{FAST, NODE, World, namespace, pod, service};

fn all_forms() -> [StreamedLists; 4] {
    [StreamedLists::Served, StreamedLists::Refused, StreamedLists::Unknown, StreamedLists::NoProgress]
}

#[tokio::test]
async fn the_annotation_of_a_namespace_comes_through_the_watch() {
    for streamed_lists in all_forms() {
        let settings = Settings { streamed_lists, ..Settings::default() };
        let mut world = World::with_settings(settings, [namespace("shop")]).await;
        world.listed().await;
        let before = world.requests("namespaces").len();
        let annotations = json!({"portolan.dev/ignore-ports": "9000"});
        world.server.put("namespaces", json!({"metadata": {"name": "shop", "annotations": annotations}}));
        world
            .until("the annotation", |known| {
                let shop = known.namespaces.as_ref().and_then(|all| all.get("/shop"));
                shop.is_some_and(|shop| shop.annotations.contains_key("portolan.dev/ignore-ports"))
            })
            .await;
        let asked = world.requests("namespaces").len() - before;
        assert!(asked <= 1, "at most the watch behind the list: {streamed_lists:?}: {asked}");
        assert_eq!(world.state(Source::Namespaces), State::Up, "{streamed_lists:?}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_tell_its_progress_is_listed_and_watched() {
    let settings = Settings { streamed_lists: StreamedLists::NoProgress, ..Settings::default() };
    let mut world = World::with_settings(settings, [pod("a", NODE), service("web"), namespace("shop")]).await;
    world.listed().await;
    world.server.put("pods", pod("b", NODE).1);
    world.pods_are(&["a", "b"]).await;
    let kinds = ["pods", "services", "networkpolicies", "namespaces"];
    let streams = kinds.iter().flat_map(|plural| world.requests(plural));
    let refused = streams.filter(|request| request.status == 500).count();
    assert!((1..=4).contains(&refused), "each kind asks for a stream once at most: {refused}");
}

#[tokio::test]
async fn a_stream_that_ends_with_an_error_before_the_lists_end_is_listed() {
    for code in [400, 404, 406, 422, 500] {
        let server = Server::start(Transport::Plain, Settings::default()).await;
        server.put("pods", pod("a", NODE).1);
        let event = json!({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "no"}});
        server.fail_times(1, On::Watches("pods"), Fault::Say(format!("{event}\n")));
        let mut world = World::of(server, FAST);
        world.pods_are(&["a"]).await;
        let lists = world.requests("pods").iter().filter(|request| !request.is_watch()).count();
        assert_eq!(lists, 1, "{code}");
    }
}

#[tokio::test]
async fn a_kind_that_is_not_served_takes_the_streams_of_the_others_not_away() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    server.put("pods", pod("a", NODE).1);
    server.fail(On::Kind("networkpolicies"), Fault::Status(404));
    let mut world = World::of(server, FAST);
    world.source(Source::NetworkPolicies, |state| state.reason().is_some()).await;
    world.pods_are(&["a"]).await;
    world.server.compact();
    world.server.cut_connections().await;
    world.server.put("pods", pod("b", NODE).1);
    world.pods_are(&["a", "b"]).await;
    assert!(world.requests("pods").iter().all(|request| request.is_watch()), "{:#?}", world.requests("pods"));
}

#[tokio::test]
async fn watches_that_keep_ending_at_once_are_a_fault_that_backs_off() {
    let settings = Settings { watches_end_at_once: true, ..Settings::default() };
    let mut world = World::with_settings(settings, [pod("a", NODE), namespace("shop")]).await;
    world.pods_are(&["a"]).await;
    let state = world.source(Source::Pods, |state| matches!(state, State::Down { .. })).await;
    assert!(state.reason().is_some_and(|reason| reason.contains("ended the watch at once")), "{state:?}");
    // What was listed stays known, the state does not flap, and the waits have grown to 400 ms.
    world.for_a_while(Duration::from_millis(1500)).await;
    world.server.log().clear();
    for _ in 0..20 {
        world.for_a_while(Duration::from_millis(100)).await;
        assert!(matches!(world.state(Source::Pods), State::Down { .. }), "{:?}", world.state(Source::Pods));
    }
    let asked = world.requests("pods").len();
    assert!((3..=25).contains(&asked), "{asked}");
    world.server.change_settings(|settings| settings.watches_end_at_once = false);
    world.source(Source::Pods, |state| *state == State::Up).await;
    world.server.put("pods", pod("b", NODE).1);
    world.pods_are(&["a", "b"]).await;
}

#[tokio::test]
async fn watches_that_keep_ending_with_an_error_are_a_fault_whatever_the_lists_say() {
    for code in [406, 410, 500] {
        let server = Server::start(Transport::Plain, Settings::default()).await;
        server.put("namespaces", namespace("shop").1);
        let event = json!({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "not so"}});
        server.fail(On::Watches("namespaces"), Fault::Say(format!("{event}\n")));
        let mut world = World::of(server, FAST);
        world.source(Source::Namespaces, |state| matches!(state, State::Down { .. })).await;
        world.for_a_while(Duration::from_millis(1500)).await;
        world.server.log().clear();
        for _ in 0..20 {
            world.for_a_while(Duration::from_millis(100)).await;
            let state = world.state(Source::Namespaces);
            assert!(matches!(state, State::Down { .. }), "{code}: {state:?}");
        }
        let asked = world.requests("namespaces").len();
        assert!((3..=40).contains(&asked), "{code}: {asked}");
        world.server.heal();
        world.source(Source::Namespaces, |state| *state == State::Up).await;
    }
}

#[tokio::test]
async fn an_empty_list_is_empty() {
    for streamed_lists in all_forms() {
        let settings = Settings { streamed_lists, ..Settings::default() };
        let mut world = World::with_settings(settings, []).await;
        world.listed().await;
        assert!(world.known.pods.is_empty() && world.known.lost.is_empty(), "{:?}", world.known);
    }
}

#[tokio::test]
async fn the_doctor_reads_the_first_line_of_each_watch() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    let directory = crate::world::scratch();
    let files = server.client_files(&directory);
    let failed = async || {
        let checks = check_all(Some(files.kubeconfig.clone())).await.expect("a kubeconfig");
        assert_eq!(checks.len(), 4);
        let failed =
            checks.into_iter().filter_map(|check| Some((check.resource, check.result.err()?.to_string())));
        failed.collect::<Vec<_>>()
    };
    assert_eq!(failed().await, [], "a cluster without objects");
    for (plural, object) in [pod("a", NODE), namespace("shop"), service("web")] {
        server.put(plural, object);
    }
    assert_eq!(failed().await, []);
    let event = json!({"type": "ERROR", "object": {"kind": "Status", "code": 406, "message": "not a list"}});
    server.fail(On::Watches("namespaces"), Fault::Say(format!("{event}\n")));
    let reason = "the API server answers 406: not a list".to_owned();
    assert_eq!(failed().await, [("namespaces", reason)]);
    let _ = std::fs::remove_dir_all(directory);
}
