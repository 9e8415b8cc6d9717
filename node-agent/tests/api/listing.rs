//! Lists and watches of a server without faults: streamed lists, pages, bookmarks, expired history.

use std::time::Duration;

use portolan::state::Source;
use portolan_testing::api_server::fault::{Fault, On, StreamedLists};
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, NODE, World, namespace, pod, policy, service};

fn all() -> Vec<(&'static str, serde_json::Value)> {
    vec![pod("a", NODE), pod("elsewhere", "node-2"), service("web"), policy("p"), namespace("shop")]
}

async fn all_is_told_and_changes_follow(mut world: World) -> World {
    world.listed().await;
    world.pods_are(&["a"]).await;
    let (plural, object) = pod("b", NODE);
    world.server.put(plural, object);
    world.pods_are(&["a", "b"]).await;
    world.server.delete("pods", "shop", "a");
    world.pods_are(&["b"]).await;
    let (plural, object) = service("api");
    world.server.put(plural, object);
    world.until("two Services", |known| known.services.as_ref().is_some_and(|all| all.len() == 2)).await;
    world.server.delete("networkpolicies", "shop", "p");
    world.until("no policy", |known| known.policies.as_ref().is_some_and(|all| all.is_empty())).await;
    let namespaces = world.known.namespaces.as_ref().expect("listed");
    assert!(namespaces.contains_key("/shop"));
    for source in [Source::Pods, Source::Services, Source::NetworkPolicies, Source::Namespaces] {
        world.source(source, |state| state.is_up()).await;
    }
    world
}

#[tokio::test]
async fn streamed_lists_and_what_changes_after() {
    let world = all_is_told_and_changes_follow(World::new(all()).await).await;
    let requests = world.requests("pods");
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert_eq!(requests[0].parameter("sendInitialEvents"), "true");
    assert_eq!(requests[0].parameter("fieldSelector"), "spec.nodeName=node-1");
    assert!(requests[0].user_agent.starts_with("portolan/"), "{}", requests[0].user_agent);
    assert!(world.requests("namespaces")[0].accept.contains("as=PartialObjectMetadata"));
    assert!(world.server.log().all().iter().all(|request| !request.path.contains("endpoint")));
}

#[tokio::test]
async fn streamed_lists_refused_fall_back_to_list_and_watch() {
    let settings = Settings { streamed_lists: StreamedLists::Refused, ..Settings::default() };
    let world = all_is_told_and_changes_follow(World::with_settings(settings, all()).await).await;
    let requests = world.requests("pods");
    let last = &requests[requests.len() - 2..];
    assert_eq!((last[0].is_watch(), last[0].parameter("resourceVersion").as_str()), (false, "0"));
    assert_eq!(last[0].parameter("limit"), "", "a limit would do away with the cache");
    assert!(last[1].is_watch() && last[1].parameter("allowWatchBookmarks") == "true");
    assert!(requests.len() <= 3, "{requests:#?}");
}

#[tokio::test]
async fn a_server_older_than_streamed_lists_falls_back_too() {
    let settings = Settings { streamed_lists: StreamedLists::Unknown, ..Settings::default() };
    all_is_told_and_changes_follow(World::with_settings(settings, all()).await).await;
}

#[tokio::test]
async fn over_tls_with_a_token() {
    let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
    let world = World::with(Transport::Tls, settings, FAST, all()).await;
    all_is_told_and_changes_follow(world).await;
}

#[tokio::test]
async fn a_lost_history_is_listed_again_and_drops_what_was_deleted_meanwhile() {
    for streamed_lists in [StreamedLists::Served, StreamedLists::Refused] {
        let settings = Settings { streamed_lists, ..Settings::default() };
        let mut world = World::with_settings(settings, [pod("a", NODE), pod("b", NODE)]).await;
        world.pods_are(&["a", "b"]).await;
        // The watch must not see the deletion.
        world.server.go_away().await;
        world.server.delete("pods", "shop", "a");
        world.server.compact();
        world.server.come_back().await;
        world.pods_are(&["b"]).await;
        assert_eq!(world.known.pod_lists, 2);
        assert_eq!(world.state(Source::Pods).reason(), None);
        let (plural, object) = pod("c", NODE);
        world.server.put(plural, object);
        world.pods_are(&["b", "c"]).await;
    }
}

#[tokio::test]
async fn bookmarks_keep_the_place_of_a_watch_that_nothing_happens_to() {
    let settings = Settings {
        bookmark_every: Duration::from_millis(30),
        watches_last: Some(Duration::from_millis(250)),
        ..Settings::default()
    };
    let mut world = World::with_settings(settings, [pod("a", NODE), service("web")]).await;
    world.pods_are(&["a"]).await;
    for _ in 0..3 {
        let before = world.requests("pods").len();
        // Many changes of other nodes' pods, which the server soon drops from its history.
        let (plural, object) = service("web");
        world.server.put(plural, object);
        while world.requests("pods").len() == before {
            world.for_a_while(Duration::from_millis(20)).await;
            if world.requests("pods").last().is_some_and(|request| request.status != 200) {
                panic!("{:#?}", world.requests("pods"));
            }
        }
    }
    assert_eq!(world.known.pod_lists, 1, "{:#?}", world.requests("pods"));
    let versions: Vec<u64> = world
        .requests("pods")
        .iter()
        .skip(1)
        .filter_map(|request| request.parameter("resourceVersion").parse().ok())
        .collect();
    assert!(versions.len() >= 2 && versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
}

#[tokio::test]
async fn a_watch_that_ends_in_time_goes_on_where_it_was() {
    let settings = Settings { watches_last: Some(Duration::from_millis(80)), ..Settings::default() };
    let mut world = World::with_settings(settings, [pod("a", NODE)]).await;
    world.pods_are(&["a"]).await;
    for name in ["b", "c", "d"] {
        world.for_a_while(Duration::from_millis(90)).await;
        let (plural, object) = pod(name, NODE);
        world.server.put(plural, object);
    }
    world.pods_are(&["a", "b", "c", "d"]).await;
    assert_eq!(world.state(Source::Pods).reason(), None);
}

#[tokio::test]
async fn a_restored_backup_is_listed_of_now_page_by_page() {
    let settings = Settings {
        streamed_lists: StreamedLists::Refused,
        watches_last: Some(Duration::from_millis(300)),
        ..Settings::default()
    };
    let mut world = World::with_settings(settings, [service("old")]).await;
    world.until("one Service", |known| known.services.as_ref().is_some_and(|all| all.len() == 1)).await;
    world.server.restore_backup((0..900).map(|n| service(Box::leak(format!("web-{n:04}").into_boxed_str()))));
    // A watch from a future version is silent. The next list is rejected, and the one after it is current.
    world.until("900 Services", |known| known.services.as_ref().is_some_and(|all| all.len() == 900)).await;
    assert!(world.known.services.as_ref().is_some_and(|all| !all.contains_key("shop/old")));
    let pages: Vec<_> = world
        .requests("services")
        .into_iter()
        .filter(|request| request.parameter("limit") == "500")
        .collect();
    assert_eq!(pages.len(), 2, "{pages:#?}");
    assert!(pages[1..].iter().all(|page| !page.parameter("continue").is_empty()));
}

#[tokio::test]
async fn a_page_that_the_server_no_longer_knows_begins_the_list_again() {
    let settings = Settings { streamed_lists: StreamedLists::Refused, ..Settings::default() };
    let server = Server::start(Transport::Plain, settings).await;
    server.put("services", service("web").1);
    for code in [400, 410, 504] {
        server.fail_times(1, On::Lists("services"), Fault::Status(code));
    }
    let mut world = World::of(server, FAST);
    world.until("one Service", |known| known.services.as_ref().is_some_and(|all| all.len() == 1)).await;
}

#[tokio::test]
async fn a_pod_that_ends_gives_its_address_back() {
    let mut world = World::new([pod("a", NODE), pod("b", NODE)]).await;
    world.pods_are(&["a", "b"]).await;
    let (plural, mut object) = pod("a", NODE);
    object["status"]["phase"] = "Succeeded".into();
    world.server.put(plural, object);
    world.pods_are(&["b"]).await;
}

#[tokio::test]
async fn a_policy_that_is_no_longer_for_ingress_is_gone() {
    let mut world = World::new([policy("p")]).await;
    world.until("a policy", |known| known.policies.as_ref().is_some_and(|all| all.len() == 1)).await;
    let (plural, mut object) = policy("p");
    object["spec"]["policyTypes"] = serde_json::json!(["Egress"]);
    world.server.put(plural, object);
    world.until("none", |known| known.policies.as_ref().is_some_and(|all| all.is_empty())).await;
}
