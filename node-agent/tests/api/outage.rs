//! An API server that is down: at the start, for a long time, and when it returns.

use std::time::Duration;

use portolan::state::{Source, State, StateFeed, States};
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World, pod};

#[tokio::test]
async fn away_at_the_start() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    server.put("pods", pod("a", NODE).1);
    server.go_away().await;
    let mut world = World::of(server, FAST);
    let state = world.source(Source::Pods, |state| state.reason().is_some()).await;
    let reason = state.reason().expect("a reason");
    assert!(
        !state.is_up() && reason.starts_with("cannot reach the API server: ") && reason.contains("refused"),
        "{reason}"
    );
    world.server.come_back().await;
    world.listed().await;
    world.pods_are(&["a"]).await;
    world.source(Source::Pods, |state| *state == State::Up).await;
}

#[tokio::test]
async fn what_is_known_stays_while_the_server_is_away() {
    let mut world = World::new([pod("a", NODE)]).await;
    world.listed().await;
    world.server.go_away().await;
    world.source(Source::Pods, |state| matches!(state, State::Down { .. })).await;
    world.for_a_while(Duration::from_millis(500)).await;
    assert_eq!(world.known.pods.len(), 1);
    assert!(world.known.services.is_some());
    world.server.put("pods", pod("b", NODE).1);
    world.server.come_back().await;
    world.pods_are(&["a", "b"]).await;
    assert_eq!(world.known.pod_lists, 1, "the history was there: nothing had to be listed again");
}

#[tokio::test]
async fn one_watcher_at_a_time_tries_a_server_that_is_away_and_all_follow_the_first() {
    let mut world = World::new([pod("a", NODE)]).await;
    world.listed().await;
    world.server.turn_away().await;
    world.server.log().clear();
    world.for_a_while(Duration::from_secs(4)).await;
    let comers = world.server.log().times().len();
    // Four watchers with waits up to 400 ms would send about 80 requests. In turns they send about 20, and some more at first.
    assert!((5..=50).contains(&comers), "{comers}");
    world.server.come_back().await;
    for source in [Source::Pods, Source::Services, Source::NetworkPolicies, Source::Namespaces] {
        world.source(source, |state| state.is_up()).await;
    }
}

#[tokio::test]
async fn the_watchers_end_with_the_engine() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    let directory = crate::world::scratch();
    let files = server.client_files(&directory);
    let (sender, inputs) = tokio::sync::mpsc::channel(64);
    let options = portolan::source::kubernetes::KubernetesOptions {
        node_name: NODE.to_owned(),
        kubeconfig: Some(files.kubeconfig),
        services: portolan::source::kubernetes::Switch::Off,
        policies: portolan::source::kubernetes::Switch::Off,
        pace: FAST,
    };
    let feed = StateFeed::default();
    let watching = portolan::source::kubernetes::start(&options, &sender, &feed);
    assert_eq!(watching.len(), 2, "pods and namespaces");
    let mut states = feed.subscribe();
    let is_up =
        |states: &States| [Source::Pods, Source::Namespaces].iter().all(|one| states.of(one.clone()).is_up());
    let up = tokio::time::timeout(crate::world::PATIENCE, states.wait_for(is_up)).await.expect("in time");
    let watched: Vec<Source> = up.expect("the feed").sources().map(|(source, _)| source.clone()).collect();
    assert_eq!(watched, [Source::Pods, Source::Namespaces]);
    drop(inputs);
    for one in watching {
        tokio::time::timeout(crate::world::PATIENCE, one).await.expect("in time").expect("without a panic");
    }
    let _ = std::fs::remove_dir_all(directory);
}
