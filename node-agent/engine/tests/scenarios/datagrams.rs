//! UDP: who spoke first decides what is a server and what a client.

use portolan_engine::model::change::Change;
use portolan_engine::model::identity::{NetnsId, Protocol};
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind;
use portolan_engine::model::traffic::{Origin, PeerDelta};

use crate::world::{APP, World, app, drained, host, netns, opened, peer, pod, pods, scan};

/// A world in which the kernel drains, with a UDP socket of the pod on this port that a scan has listed.
fn bound(port: u16, address: &str) -> World {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(2, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![pod("multi-port-app").at("app").into(), pod("curler").at("curler").into()]));
    let at = world.now;
    world.apply(opened(APP, 10, Protocol::Udp, port, address, at)).wait(100);
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Udp, port)]));
    world
}

impl World {
    fn heard(&mut self, port: u16, peers: Vec<PeerDelta>) -> &mut Self {
        self.drain(APP, Protocol::Udp, port, drained(peers)).wait(1_000)
    }

    /// The port addresses this peer.
    fn addresses(&mut self, port: u16, address: &str) -> &mut Self {
        let peer = PeerDelta { addressed_first: true, ..peer(address, self.now) };
        self.heard(port, vec![peer])
    }

    /// This peer, which the port addressed first, answers.
    fn answers(&mut self, port: u16, address: &str, packets: u64) -> &mut Self {
        let answer =
            PeerDelta { packets, bytes: packets * 80, addressed_first: true, ..peer(address, self.now) };
        self.heard(port, vec![answer])
    }

    /// This peer sends datagrams unasked.
    fn sends(&mut self, port: u16, address: &str, packets: u64) -> &mut Self {
        let sent = PeerDelta { packets, bytes: packets * 80, ..peer(address, self.now) };
        self.heard(port, vec![sent])
    }
}

#[test]
fn a_client_with_several_servers_is_no_server_whatever_its_port() {
    for port in [40_000, 5_000, 53] {
        let mut world = bound(port, "0.0.0.0");
        world.addresses(port, "203.0.113.53").addresses(port, "198.51.100.53");
        for _ in 0..60 {
            world.answers(port, "203.0.113.53", 3).answers(port, "198.51.100.53", 2);
        }
        world.check(&[]);
        assert!(world.listeners().is_empty());
        assert_eq!(world.printed(port), (0, 0), "{port}");
    }
}

#[test]
fn a_client_is_not_reported_although_a_drain_comes_before_its_first_datagram() {
    for port in [40_000, 5_000] {
        let mut world = bound(53, "0.0.0.0");
        let at = world.now;
        world.apply(opened(APP, 11, Protocol::Udp, port, "0.0.0.0", at)).wait(20);
        world.drain(APP, Protocol::Udp, 53, drained(vec![])).wait(20);
        let at = world.now;
        world.apply(scan(APP, at, &[(10, Protocol::Udp, 53), (11, Protocol::Udp, port)])).wait(20);
        world.addresses(port, "203.0.113.53").answers(port, "203.0.113.53", 3);
        assert_eq!(world.printed(port), (0, 0), "{port}");
    }
}

#[test]
fn a_server_in_the_ephemeral_range_with_one_caller_is_one() {
    let mut world = bound(51_820, "0.0.0.0");
    world.wait(6_000).check(&[]);
    assert!(world.listener().unproven);
    world.sends(51_820, "10.1.0.3", 4).check(&["undeclared-active 51820/UDP"]);
    assert!(!world.listener().unproven);
    assert_eq!(world.listener().traffic.packets, 4);
    assert_eq!(world.printed(51_820), (2, 0), "once unproven, once proven");
}

#[test]
fn a_port_that_was_called_is_a_server_also_if_it_addresses_others() {
    let mut world = bound(40_000, "0.0.0.0");
    world.addresses(40_000, "203.0.113.53").answers(40_000, "203.0.113.53", 1);
    assert!(world.listeners().is_empty());
    world.sends(40_000, "10.1.0.3", 1).wait(6_000).check(&["undeclared-active 40000/UDP"]);
    let listener = world.listener();
    assert_eq!(listener.traffic.peers.len(), 1, "those that answer are no callers");
    assert_eq!(listener.traffic.packets, 2, "all datagrams count for the port");
    world.answers(40_000, "203.0.113.53", 5).wait(10_000).check(&["undeclared-active 40000/UDP"]);
}

#[test]
fn an_answer_from_outside_does_not_make_a_server_critical() {
    let mut world = bound(5_060, "0.0.0.0");
    world.sends(5_060, "10.1.0.3", 1).addresses(5_060, "203.0.113.9").answers(5_060, "203.0.113.9", 9);
    world.wait(10_000).check(&["undeclared-active 5060/UDP"]);
    assert_eq!(world.finding().traffic.peers.len(), 1);
}

#[test]
fn a_server_that_only_waits_is_judged_outside_of_the_ephemeral_range_and_unproven_within() {
    let mut world = bound(5_060, "0.0.0.0");
    world.wait(6_000).check(&["undeclared-reachable 5060/UDP"]);
    assert!(!world.listener().unproven);
    assert_eq!(world.engine.unproven_listeners().count(), 0);
    let mut world = bound(40_000, "0.0.0.0");
    world.wait(60_000).check(&[]);
    assert_eq!(world.listeners(), ["40000/UDP multi-port-app"]);
    assert!(world.listener().unproven);
    assert_eq!(world.engine.unproven_listeners().collect::<Vec<_>>(), [world.listener()]);
}

#[test]
fn a_port_that_was_shown_and_turns_out_to_be_a_clients_is_withdrawn() {
    let mut world = bound(5_060, "0.0.0.0");
    world.wait(6_000).check(&["undeclared-reachable 5060/UDP"]);
    world.addresses(5_060, "203.0.113.9").check(&["undeclared-reachable 5060/UDP"]);
    assert_eq!(world.printed(5_060), (1, 0), "nobody answered");
    world.answers(5_060, "203.0.113.9", 1).check(&[]);
    assert!(world.listeners().is_empty());
    assert_eq!(world.printed(5_060), (1, 1));
}

#[test]
fn a_port_that_is_older_than_the_agent_may_have_been_called_before() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Udp, 5_060)])).wait(6_000);
    world.check(&["undeclared-reachable 5060/UDP"]);
    world.addresses(5_060, "203.0.113.9").answers(5_060, "203.0.113.9", 1).check(&[]);
    assert!(world.listener().unproven, "listed all the same");
    // One that appears later asked first.
    let mut world = World::demo();
    let at = world.now;
    world.apply(scan(APP, at, &[])).wait(6_000);
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Udp, 5_060)])).wait(6_000);
    world.addresses(5_060, "203.0.113.9").answers(5_060, "203.0.113.9", 1).check(&[]);
    assert!(world.listeners().is_empty());
}

#[test]
fn a_declared_port_is_never_a_clients() {
    let mut world = World::new();
    let pod = pod("dns").at("app").container("dns", ContainerKind::Regular, &[(40_053, Protocol::Udp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![pod.into()]));
    let at = world.now;
    world.apply(opened(APP, 10, Protocol::Udp, 40_053, "0.0.0.0", at)).addresses(40_053, "203.0.113.53");
    assert_eq!(world.listeners(), ["40053/UDP dns"]);
    assert!(!world.listener().unproven);
}

#[test]
fn a_port_that_opens_anew_begins_anew() {
    let mut world = bound(5_353, "0.0.0.0");
    world.sends(5_353, "10.1.0.3", 1).wait(5_000).check(&["undeclared-active 5353/UDP"]);
    world.close(APP, 10).heard(5_354, Vec::new()).wait(10_000);
    assert!(world.listeners().is_empty());
    let at = world.now;
    world.apply(opened(APP, 11, Protocol::Udp, 5_353, "0.0.0.0", at)).wait(100);
    let at = world.now;
    world.apply(scan(APP, at, &[(11, Protocol::Udp, 5_353)])).addresses(5_353, "203.0.113.53");
    assert!(world.listeners().is_empty(), "it was called before it closed, and is a client's now");
}

#[test]
fn what_a_resolver_opens_for_one_query_leaves_no_line() {
    let mut world = bound(5_353, "127.0.0.53");
    for (cookie, port) in (100..150).zip(20_000..) {
        let at = world.now;
        world.apply(opened(APP, cookie, Protocol::Udp, port, "0.0.0.0", at)).wait(20).close(APP, cookie);
        // Some sockets are connected, which nobody sees addressing anybody.
        if cookie % 2 == 0 {
            world.addresses(port, "203.0.113.53");
        }
        world.wait(5_000);
        assert_eq!(world.printed(port), (0, 0));
    }
}

#[test]
fn a_short_lived_server_that_was_called_is_told() {
    let mut world = bound(5_353, "127.0.0.53");
    let at = world.now;
    world.apply(opened(APP, 20, Protocol::Udp, 6_000, "0.0.0.0", at)).wait(20).close(APP, 20);
    world.sends(6_000, "10.1.0.3", 1);
    assert_eq!(world.printed(6_000), (1, 1));
}

#[test]
fn datagrams_at_the_interface_and_at_the_socket_lookup_are_different_ones() {
    let mut world = bound(5_353, "0.0.0.0");
    let own = PeerDelta { attempts: 3, ..peer("127.0.0.1", world.now) };
    let other = PeerDelta { packets: 4, bytes: 400, ..peer("10.1.0.3", world.now) };
    world.heard(5_353, vec![own, other]);
    let traffic = world.listener().traffic.clone();
    assert_eq!((traffic.packets, traffic.attempts, traffic.bytes), (7, 7, 400));
    let sent: Vec<(Origin, u64)> = traffic.peers.iter().map(|peer| (peer.origin, peer.packets)).collect();
    assert_eq!(sent, [(Origin::Pod, 4), (Origin::SamePod, 3)]);
}

#[test]
fn a_busy_port_has_no_unknown_callers_while_its_peers_catch_up() {
    let mut world = bound(5_353, "0.0.0.0");
    for drain in 0..20 {
        // What the port counted and its peer did not yet, is named in the next drain.
        let packets = if drain == 0 { 9 } else { 10 };
        let mut delta = drained(vec![PeerDelta { packets, ..peer("10.1.0.1", world.now) }]);
        delta.packets = 10;
        world.drain(APP, Protocol::Udp, 5_353, delta).wait(1_000);
    }
    world.check(&["undeclared-reachable 5353/UDP"]);
    assert!(!world.listener().traffic.truncated);
    world.wait(10_000).check(&["undeclared-active 5353/UDP"]);
}

#[test]
fn what_the_interface_counts_for_a_loopback_socket_proves_nothing() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(opened(APP, 10, Protocol::Udp, 40_000, "127.0.0.1", at));
    world.sends(40_000, "203.0.113.9", 5).wait(6_000).check(&[]);
    let own = PeerDelta { attempts: 1, ..peer("127.0.0.1", world.now) };
    world.heard(40_000, vec![own]).wait(6_000).check(&["undeclared-loopback 40000/UDP"]);
}

#[test]
fn where_nobody_observes_who_spoke_first_several_callers_prove_a_server() {
    let options = EngineOptions { knows_direction: false, ..EngineOptions::default() };
    let mut world = World::with(options);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    for (cookie, port) in [(10, 40_000), (11, 5_060)] {
        let at = world.now;
        world.apply(opened(APP, cookie, Protocol::Udp, port, "0.0.0.0", at));
    }
    world.wait(6_000).check(&["undeclared-reachable 5060/UDP"]);
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Udp, 40_000), (11, Protocol::Udp, 5_060)]));
    world.sends(40_000, "10.1.0.3", 1).check(&["undeclared-reachable 5060/UDP"]);
    world.sends(40_000, "10.1.0.4", 1).wait(4_000);
    world.check(&["undeclared-active 40000/UDP", "undeclared-reachable 5060/UDP"]);
}

#[test]
fn the_first_report_waits_for_a_scan_and_not_for_ever() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(opened(APP, 10, Protocol::Udp, 5_353, "0.0.0.0", at));
    assert!(world.listeners().is_empty());
    let requests =
        |world: &World| world.said.iter().filter(|change| **change == Change::Scan(NetnsId(APP))).count();
    assert_eq!(requests(&world), 1);
    world.wait(1_100);
    assert_eq!(world.listeners(), ["5353/UDP multi-port-app"]);
    let at = world.now;
    world.apply(opened(APP, 11, Protocol::Udp, 5_354, "0.0.0.0", at));
    let at = world.now;
    world.apply(scan(APP, at, &[(10, Protocol::Udp, 5_353), (11, Protocol::Udp, 5_354)]));
    assert_eq!(world.listeners().len(), 2);
    assert_eq!(requests(&world), 2);
}

#[test]
fn a_caller_without_an_address_of_the_internet_is_not_external() {
    let mut world = bound(67, "0.0.0.0");
    world.sends(67, "0.0.0.0", 1).wait(10_000).check(&["undeclared-active 67/UDP"]);
    assert_eq!(world.finding().traffic.peers[0].reference, None);
}

#[test]
fn only_icmp_errors_came_back() {
    let mut world = bound(5_060, "0.0.0.0");
    world.addresses(5_060, "10.1.0.3").wait(10_000).check(&[]);
    assert!(world.listeners().is_empty(), "it addressed somebody, and nobody called");
}
