//! Credentials that change while the agent runs, are missing, or are wrong.

use portolan::state::Source;
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World, pod};

async fn tls_world() -> World {
    let settings = Settings { token: Some("first".to_owned()), ..Settings::default() };
    World::with(Transport::Tls, settings, FAST, [pod("a", NODE)]).await
}

#[tokio::test]
async fn a_rotated_token_is_picked_up() {
    let mut world = tls_world().await;
    world.pods_are(&["a"]).await;
    world.server.change_settings(|settings| settings.token = Some("second".to_owned()));
    world.server.cut_connections().await;
    let refused = |reason: &str| reason.contains("401") && !reason.contains("first");
    world.source(Source::Pods, |state| state.reason().is_some_and(refused)).await;
    world.files.write_token("second");
    world.server.put("pods", pod("b", NODE).1);
    world.pods_are(&["a", "b"]).await;
    world.source(Source::Pods, |state| state.is_up()).await;
}

#[tokio::test]
async fn a_rotated_authority_is_picked_up() {
    let mut world = tls_world().await;
    world.pods_are(&["a"]).await;
    let authority = world.server.rotate_authority().await;
    let distrusted = |reason: &str| reason.contains("certificate");
    world.source(Source::Pods, |state| state.reason().is_some_and(distrusted)).await;
    world.files.write_authority(&authority);
    world.server.put("pods", pod("b", NODE).1);
    world.pods_are(&["a", "b"]).await;
}

#[tokio::test]
async fn credentials_that_are_missing_are_waited_for() {
    let server = Server::start(Transport::Plain, Settings::default()).await;
    server.put("pods", pod("a", NODE).1);
    let mut world = World::of(server, FAST);
    // The watchers have not started yet, because this runtime has one thread.
    let text = std::fs::read(&world.files.kubeconfig).expect("written");
    std::fs::remove_file(&world.files.kubeconfig).expect("there");
    let state = world.source(Source::Pods, |state| state.reason().is_some()).await;
    let reason = state.reason().expect("a reason");
    assert!(reason.starts_with("no credentials for the API server: "), "{reason}");
    std::fs::write(&world.files.kubeconfig, text).expect("written");
    world.pods_are(&["a"]).await;
}
