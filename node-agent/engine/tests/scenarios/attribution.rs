//! Identity: which pod a netns is, when pods come late, go, or come again under the same name.

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::{NetnsId, Protocol};
use portolan_engine::model::input::Input;

use crate::world::{APP, World, app, netns, opened, pod, pods, process, scan};

#[test]
fn a_pod_that_is_learned_within_the_hold_is_named_from_the_first_line() {
    let mut world = World::new();
    world.listen(APP, 10, 9090).wait(1_000);
    assert!(world.listeners().is_empty());
    world.apply(netns(APP, "app", "10.1.0.2/24")).wait(1_000).apply(pods(vec![app()]));
    assert_eq!(world.listeners(), ["9090/TCP multi-port-app"]);
    assert_eq!(world.printed(9090), (1, 0));
}

#[test]
fn what_cannot_be_attributed_is_said_and_counted() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090).wait(3_100);
    assert_eq!(world.listeners(), ["9090/TCP -"]);
    world.wait(3_000).check(&["unattributed 9090/TCP"]);
    assert_eq!(world.engine.counts().totals.unattributed, 1);
}

#[test]
fn a_pod_that_comes_after_the_hold_takes_the_listener_over_under_its_own_id() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090).wait(6_000);
    world.apply(pods(vec![app()])).check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.told("unattributed"), [FindingState::Open, FindingState::Resolved]);
    assert_eq!(world.printed(9090), (2, 1));
}

#[test]
fn a_short_life_before_its_pod_is_known_is_told_with_the_pod() {
    let mut world = World::new();
    world.listen(APP, 10, 9090).wait(50).close(APP, 10).wait(500);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    assert_eq!(world.printed(9090), (1, 1));
}

#[test]
fn a_pod_made_again_under_the_same_name_has_other_ids() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090);
    let first = world.engine.listeners().next().expect("a listener").id.clone();
    world.apply(pods(vec![pod("multi-port-app").uid("another").at("app").into()]));
    let second = world.engine.listeners().next().expect("a listener");
    assert_ne!(first, second.id);
    assert_eq!(second.pod.as_ref().map(|pod| pod.uid.0.as_str()), Some("another"));
}

#[test]
fn ids_lead_back_to_what_they_name() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    let id = world.engine.findings().next().expect("a finding").id.clone();
    assert_eq!(world.engine.finding(&id).map(|finding| finding.id.clone()), Some(id.clone()));
    assert_eq!(world.engine.listener(&id).map(|listener| listener.id.clone()), Some(id));
}

#[test]
fn a_listener_whose_process_is_known_before_its_netns_has_one_id() {
    let mut world = World::new();
    world.apply(pods(vec![pod("app").uid("aa-bb").at("app").into()]));
    let mut socket = opened(APP, 10, Protocol::Tcp, 9090, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("python3", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).wait(1_000);
    assert_eq!(world.printed(9090), (0, 0));
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    assert_eq!(world.printed(9090), (1, 0));
    assert_eq!(world.listeners(), ["9090/TCP app"]);
}

#[test]
fn a_netns_that_nobody_finds_does_not_keep_a_pods_listener_back_for_ever() {
    let mut world = World::new();
    world.apply(pods(vec![pod("app").uid("aa-bb").at("app").into()]));
    let mut socket = opened(77, 10, Protocol::Tcp, 9090, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut socket {
        socket.process = Some(process("python3", Some("/kubepods/podaa-bb/0123")));
    }
    world.apply(socket).wait(3_100);
    assert_eq!(world.listeners(), ["9090/TCP app"]);
}

#[test]
fn a_netns_that_ended_is_no_pods_any_more() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(scan(APP, at, &[])).wait(61_000).check(&["stale-declaration"]);
    let at = world.now;
    world.apply(Input::NetnsGone { netns: NetnsId(APP), at }).check(&[]);
    world.apply(netns(APP + 10, "app", "10.1.0.9/24")).listen(APP + 10, 11, 9090).wait(6_000);
    assert_eq!(world.listeners(), ["9090/TCP multi-port-app"]);
    world.check(&["undeclared-reachable 9090/TCP"]);
}
