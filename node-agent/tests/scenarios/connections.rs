//! Traffic: who reached a port, how far it came, and what that makes of the finding.

use portolan::engine::change::{FindingState, Origin};
use portolan::engine::identity::Protocol;
use portolan::engine::input::PortDelta;

use crate::world::{APP, CURLER, World, netns, pod, pods};

#[test]
fn a_call_from_another_pod_makes_the_port_active_and_names_the_caller() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 3);
    world.check(&["undeclared-active 9090/TCP"]);
    let finding = world.engine.findings().next().expect("a finding");
    let peer = &finding.traffic.peers[0];
    assert_eq!(
        (peer.origin, peer.reference.as_deref(), peer.connections),
        (Origin::Pod, Some("demo/curler"), 3)
    );
    assert_eq!(
        finding.message,
        "port 9090/TCP is served by python3 but not declared by pod demo/multi-port-app; \
         demo/curler (10.1.0.3) connected 3 times: declare it in containerPort or close it"
    );
}

#[test]
fn the_nodes_own_calls_and_those_within_the_pod_change_nothing() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    for peer in ["10.1.0.1", "192.0.2.10", "10.1.0.2", "127.0.0.1"] {
        world.calls(APP, Protocol::Tcp, 9090, peer, 1);
    }
    world.wait(10_000).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn a_call_from_outside_is_critical_once_no_pod_turned_up_for_it() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "203.0.113.9", 1);
    world.check(&["undeclared-reachable 9090/TCP"]);
    world.wait(3_100).check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn a_caller_whose_pod_is_learned_a_moment_later_was_never_external() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.7.7.7", 1).wait(1_000);
    world.apply(netns(CURLER + 1, "late", "10.7.7.7/32"));
    world.wait(5_000).check(&["undeclared-active 9090/TCP"]);
    assert!(world.told("undeclared-external").is_empty());
}

#[test]
fn a_caller_in_the_pods_range_is_named_once_its_pod_is_learned() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.77", 1);
    let name = |world: &World| {
        let finding = world.engine.findings().next().expect("a finding");
        finding.traffic.peers[0].reference.as_deref().map(str::to_owned)
    };
    assert_eq!(name(&world), None);
    let late = pod("late").uid("late").address("10.1.0.77").into();
    world.wait(500).apply(pods(vec![crate::world::app(), late])).wait(5_000);
    assert_eq!(name(&world).as_deref(), Some("demo/late"));
    assert_eq!(world.told("undeclared-active").len(), 2, "the name is worth a line");
}

#[test]
fn a_caller_that_calls_again_once_its_pod_is_learned_is_named_in_a_line_of_its_own() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.77", 1);
    let late = pod("late").uid("late").address("10.1.0.77").into();
    world.wait(500).apply(pods(vec![crate::world::app(), late]));
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.77", 1).wait(2_000);
    assert_eq!(world.told("undeclared-active").len(), 2);
}

#[test]
fn an_attempt_is_not_a_connection() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    world.drain(APP, Protocol::Tcp, 9090, PortDelta { attempts: 40, ..PortDelta::default() });
    world.wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
    let traffic = world.engine.findings().next().expect("a finding").traffic.clone();
    assert_eq!((traffic.attempts, traffic.connections), (40, 0));
}

#[test]
fn served_datagrams_count_also_where_only_the_socket_lookup_saw_them() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(crate::world::opened(APP, 10, Protocol::Udp, 5353, "0.0.0.0", at)).wait(6_000);
    world.calls(APP, Protocol::Udp, 5353, "10.1.0.3", 7);
    world.check(&["undeclared-active 5353/UDP"]);
    assert_eq!(world.engine.findings().next().expect("a finding").traffic.packets, 7);
}

#[test]
fn new_peers_are_told_at_most_once_a_second() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    for last in 10..30 {
        world.calls(APP, Protocol::Tcp, 9090, &format!("10.1.0.{last}"), 1).wait(50);
    }
    world.wait(2_000);
    assert_eq!(world.told("undeclared-active"), [FindingState::Open; 2]);
}

#[test]
fn an_address_used_again_keeps_the_origin_it_was_counted_with() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    world.apply(pods(vec![crate::world::app(), pod("other").at("curler").into()]));
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    let finding = world.engine.findings().next().expect("a finding");
    assert_eq!(finding.traffic.peers[0].reference.as_deref(), Some("demo/curler"));
}

#[test]
fn peers_the_kernel_forgot_are_said() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090);
    world.drain(
        APP,
        Protocol::Tcp,
        9090,
        PortDelta { connections: 9, peers_created: 9, ..PortDelta::default() },
    );
    let listener = world.engine.listeners().next().expect("a listener");
    assert!(listener.traffic.truncated);
    assert_eq!(listener.traffic.connections, 9);
}
