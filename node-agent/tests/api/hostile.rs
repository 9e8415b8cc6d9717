//! An API server or proxy that sends malformed answers: no watcher stops, and no malformed answer becomes a fact.

use portolan::state::{Source, State};
use portolan_engine::model::selector::Selects;
use portolan_testing::api_server::fault::{Fault, On, StreamedLists};
use portolan_testing::api_server::server::{Server, Settings, Transport};

use crate::world::{FAST, Known, NODE, World, pod, policy, service};

async fn world_with(streamed_lists: StreamedLists, on: On, fault: Fault, times: u32) -> World {
    let server = Server::start(Transport::Plain, Settings { streamed_lists, ..Settings::default() }).await;
    server.put("pods", pod("a", NODE).1);
    server.put("services", service("web").1);
    server.fail_times(times, on, fault);
    World::of(server, FAST)
}

/// Injects a fault twice, into lists, watches or all requests, and expects a full recovery.
async fn recovers_from(fault: Fault) {
    for streamed_lists in [StreamedLists::Served, StreamedLists::Refused] {
        for on in [On::Lists("pods"), On::Watches("pods"), On::Everything] {
            let mut world = world_with(streamed_lists, on, fault.clone(), 2).await;
            world.pods_are(&["a"]).await;
            world.server.put("pods", pod("b", NODE).1);
            world.pods_are(&["a", "b"]).await;
            world.until("Services", |known| known.services.is_some()).await;
        }
    }
}

#[tokio::test]
async fn requests_that_stall() {
    recovers_from(Fault::Stall).await;
}

#[tokio::test]
async fn answers_that_fall_silent() {
    recovers_from(Fault::Silence).await;
}

#[tokio::test]
async fn answers_that_are_cut() {
    for after in [0, 1, 60, 200] {
        recovers_from(Fault::Cut(after)).await;
    }
}

#[tokio::test]
async fn answers_that_end_at_once() {
    recovers_from(Fault::Empty).await;
}

#[tokio::test]
async fn what_is_no_json() {
    recovers_from(Fault::Say("<html>Bad Gateway</html>\n".to_owned())).await;
    recovers_from(Fault::Say("{\"kind\":\"PodList\",\"metadata\":{},\"items\":[1]}\n".to_owned())).await;
    recovers_from(Fault::Say("{\"items\":[{\"metadata\":".to_owned())).await;
}

#[tokio::test]
async fn a_proxy_that_sends_all_nodes_pods() {
    let odd = r#"{"type":"ADDED","object":{"metadata":{"name":"x","uid":"x","resourceVersion":"5"},"spec":{"nodeName":"node-9","containers":[{"name":"c"}]}}}
{"type":"ADDED","object":{"metadata":{"name":"y","uid":"y","resourceVersion":"6"},"spec":{"nodeName":"node-1","containers":[{"name":"c"}]}}}
{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}
"#;
    let mut world =
        world_with(StreamedLists::Served, On::Watches("pods"), Fault::Say(odd.to_owned()), 1).await;
    world.until("a list", |known| known.pod_lists == 1).await;
    assert_eq!(world.known.pods.keys().collect::<Vec<_>>(), ["y"]);
}

#[tokio::test]
async fn odd_objects_are_left_out_and_counted_and_the_others_stay() {
    let lines = [
        r#"{"type":"ADDED","object":[]}"#,
        r#"{"type":"ADDED","object":{"metadata":null}}"#,
        r#"{"type":"ADDED","object":{"metadata":{"name":"no-uid"}}}"#,
        r#"{"type":"MUTATED","object":{"metadata":{"name":"z","uid":"z"}}}"#,
        r#"{"type":"DELETED","object":{"metadata":{"name":"never","uid":"never-there"}}}"#,
        r#"{"type":"BOOKMARK","object":null}"#,
        "",
        r#"{"type":"ADDED","object":{"metadata":{"name":"x","uid":"x","resourceVersion":"5"},"spec":"?","status":7}}"#,
        r#"{"type":"ADDED","object":{"metadata":{"name":"y","uid":"y","resourceVersion":"6"},"spec":{"containers":[{"name":"c"}]},"future":{"a":[{}]}}}"#,
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
    ];
    let text = lines.join("\n") + "\n";
    let mut world = world_with(StreamedLists::Served, On::Watches("pods"), Fault::Say(text), 1).await;
    world.until("a list", |known| known.pod_lists == 1).await;
    assert_eq!(world.known.pods.keys().collect::<Vec<_>>(), ["y"]);
    assert_eq!(world.known.lost.get("kubernetes-object-invalid"), Some(&4));
}

#[tokio::test]
async fn an_object_too_large_for_anybody_is_left_out_and_the_others_stay() {
    let huge = "x".repeat(9 << 20);
    for streamed_lists in [StreamedLists::Served, StreamedLists::Refused] {
        let server =
            Server::start(Transport::Plain, Settings { streamed_lists, ..Settings::default() }).await;
        server.put("pods", pod("a", NODE).1);
        let (plural, mut object) = pod("b", NODE);
        object["metadata"]["annotations"] = serde_json::json!({ "huge": huge });
        server.put(plural, object);
        server.put("pods", pod("c", NODE).1);
        let mut world = World::of(server, FAST);
        world.pods_are(&["a", "c"]).await;
        world.until("it is counted", |known| known.lost.contains_key("kubernetes-object-invalid")).await;
    }
}

/// Returns a policy of about 3 MiB.
fn heavy_policy(name: &str) -> (&'static str, serde_json::Value) {
    let (plural, mut object) = policy(name);
    let ports: Vec<_> = (1..=1000).map(|port| serde_json::json!({ "port": port })).collect();
    object["spec"]["ingress"] = vec![serde_json::json!({ "ports": ports }); 100].into();
    (plural, object)
}

#[tokio::test]
async fn objects_beyond_what_is_kept_are_told_in_part_whenever_they_come() {
    for streamed_lists in [StreamedLists::Served, StreamedLists::Refused] {
        let names: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
        let (listed, later) = names.split_at(6);
        let settings = Settings { streamed_lists, ..Settings::default() };
        let mut world = World::with_settings(settings, listed.iter().map(|name| heavy_policy(name))).await;
        world.until("a list", |known| known.policies.is_some()).await;
        for name in later {
            world.server.put("networkpolicies", heavy_policy(name).1);
        }
        world.until("all", |known| known.policies.as_ref().is_some_and(|known| known.len() == 10)).await;
        let policies = world.known.policies.as_ref().expect("known");
        let whole = policies.values().filter(|policy| !policy.ingress.is_empty()).count();
        assert!((2..=6).contains(&whole), "{whole}");
        let cut = policies.values().filter(|policy| policy.ingress.is_empty());
        let none = std::collections::BTreeMap::new();
        assert!(
            cut.clone().count() >= 4 && cut.clone().all(|one| one.selector.selects(&none) == Selects::Maybe)
        );
        let state = world.source(Source::NetworkPolicies, |state| state.reason().is_some()).await;
        assert!(state.is_up() && state.reason().is_some_and(|reason| reason.contains("more than is kept")));
        world.until("it is counted", |known| known.lost.contains_key("kubernetes-object-over-limit")).await;
        // Complete objects are kept, and the truncated ones return with the next list once there is room.
        for name in &names[..8] {
            world.server.delete("networkpolicies", "shop", name);
        }
        world.until("two", |known| known.policies.as_ref().is_some_and(|known| known.len() == 2)).await;
        world.server.cut_connections().await;
        let is_whole = |known: &Known| {
            known.policies.iter().flat_map(|all| all.values()).all(|policy| !policy.ingress.is_empty())
        };
        world.until("both are whole", is_whole).await;
        world.source(Source::NetworkPolicies, |state| *state == State::Up).await;
    }
}

#[tokio::test]
async fn many_labels_and_ports_are_cut_and_counted() {
    let (plural, mut object) = pod("a", NODE);
    object["spec"]["containers"][0]["ports"] =
        (1..5000).map(|port| serde_json::json!({ "containerPort": port })).collect();
    let mut world = World::new([(plural, object)]).await;
    world.pods_are(&["a"]).await;
    assert_eq!(world.known.pods["a"].containers[0].ports.len(), 4096);
    world.until("it is counted", |known| known.lost.contains_key("kubernetes-object-over-limit")).await;
}

#[tokio::test]
async fn a_policy_that_breaks_leaves_the_verdict_open_and_a_service_that_breaks_stays() {
    let (policies, broken_policy) = {
        let (plural, mut object) = policy("p");
        object["spec"]["podSelector"] = serde_json::json!({ "matchLabels": { "app": true } });
        (plural, object)
    };
    let mut world = World::new([policy("p"), service("web")]).await;
    world.until("both", |known| known.policies.is_some() && known.services.is_some()).await;
    world.server.put(policies, broken_policy);
    let none = std::collections::BTreeMap::new();
    let is_open = |known: &Known| {
        known
            .policies
            .iter()
            .flat_map(|all| all.values())
            .any(|one| one.selector.selects(&none) == Selects::Maybe)
    };
    world.until("the policy may select every pod", is_open).await;
    let (plural, mut object) = service("web");
    object["spec"]["selector"] = serde_json::json!({ "app": [1] });
    world.server.put(plural, object);
    let state = world.source(Source::Services, |state| state.reason().is_some()).await;
    assert!(state.reason().is_some_and(|reason| reason.contains("spec.selector.app is a list")), "{state:?}");
    assert_eq!(world.known.services.as_ref().map(|known| known.len()), Some(1));
    world.server.put(plural, service("web").1);
    world.source(Source::Services, |state| *state == State::Up).await;
}
