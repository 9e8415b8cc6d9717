//! Traffic: which peers reached a port, how far away they are, and what that means for the finding.

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::traffic::{Origin, PeerDelta, PortDelta};

use crate::world::{APP, CURLER, World, host, ip, netns, pod, pods};

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
         demo/curler (10.1.0.3) connected 3 times: declare it in containerPort (portolan declare writes the patch) or close it"
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
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "198.51.100.7", 1).wait(1_000);
    world.apply(netns(CURLER + 1, "late", "198.51.100.7/32"));
    world.apply(pods(vec![crate::world::app(), pod("late").at("late").into()]));
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
    world.check(&["undeclared-active 9090/TCP"]);
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
    let callers =
        (10..30).map(|last| pod(&format!("caller-{last}")).address(&format!("10.1.0.{last}")).into());
    world.apply(pods(callers.chain([crate::world::app()]).collect()));
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
    world.wait(6_000).check(&["undeclared-active 9090/TCP"]);
}

#[test]
fn datagrams_of_peers_the_kernel_forgot_make_a_port_active() {
    let mut world = World::demo();
    world.apply(crate::world::opened(APP, 10, Protocol::Udp, 5353, "0.0.0.0", world.now)).wait(6_000);
    world.drain(APP, Protocol::Udp, 5353, PortDelta { attempts: 3, ..PortDelta::default() });
    world.check(&["undeclared-reachable 5353/UDP"]);
    world.wait(3_100).check(&["undeclared-active 5353/UDP"]);
}

#[test]
fn a_port_that_is_read_a_moment_before_its_peers_has_no_unknown_callers() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    let early = PortDelta { connections: 1, peers_created: 1, ..PortDelta::default() };
    let peer = PeerDelta {
        address: ip("10.1.0.1"),
        first_seen: world.now,
        attempts: 0,
        connections: 1,
        packets: 0,
        bytes: 0,
        addressed_first: false,
        accepted_by: None,
    };
    world.drain(APP, Protocol::Tcp, 9090, early).wait(1_000);
    world.drain(APP, Protocol::Tcp, 9090, PortDelta { peers: vec![peer], ..PortDelta::default() });
    world.wait(10_000).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn a_caller_for_whom_there_is_no_room_counts_all_the_same() {
    let options = EngineOptions { max_peers: 1, ..EngineOptions::default() };
    let mut world = World::with(options);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![crate::world::app()]));
    world.listen(APP, 10, 9090).listen(APP, 11, 9091).wait(6_000);
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.1", 1).calls(APP, Protocol::Tcp, 9091, "203.0.113.9", 1);
    world.check(&["undeclared-external 9091/TCP", "undeclared-reachable 9090/TCP"]);
}

#[test]
fn a_caller_who_left_the_list_still_counts_when_the_pod_is_learned() {
    let options = EngineOptions { max_peers_per_listener: 1, ..EngineOptions::default() };
    let mut world = World::with(options);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Protocol::Tcp, 9090, "203.0.113.9", 1).wait(5_000);
    world.calls(APP, Protocol::Tcp, 9090, "10.1.0.1", 5).apply(pods(vec![crate::world::app()]));
    world.check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn datagrams_to_a_loopback_socket_are_nobodys_traffic() {
    let mut world = World::demo();
    for (cookie, protocol, port) in [(10, Protocol::Udp, 53), (11, Protocol::Sctp, 54)] {
        world.apply(crate::world::opened(APP, cookie, protocol, port, "127.0.0.1", world.now));
    }
    world.wait(6_000);
    world.calls(APP, Protocol::Udp, 53, "203.0.113.9", 1).calls(APP, Protocol::Udp, 53, "10.1.0.3", 1);
    let sent = PortDelta { packets: 4, peers_created: 1, ..PortDelta::default() };
    world.drain(APP, Protocol::Sctp, 54, sent).wait(10_000);
    world.check(&["undeclared-loopback 53/UDP", "undeclared-loopback 54/SCTP"]);
    world.apply(crate::world::opened(APP, 12, Protocol::Udp, 53, "0.0.0.0", world.now));
    world.check(&["undeclared-external 53/UDP", "undeclared-loopback 54/SCTP"]);
}
