//! Origins of callers by their address alone: what is learned, what is guessed, and what a pod cannot forge.

use portolan_engine::model::identity::{NetnsId, Protocol};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::traffic::Origin;

use crate::world::{APP, CURLER, World, app, host, netns, pod, pods, told};

/// The origin of the only caller of the only listener.
fn origin(world: &World) -> Option<Origin> {
    Some(world.engine.listeners().next()?.traffic.peers.first()?.origin)
}

#[test]
fn a_pod_of_another_node_is_no_outsider_where_no_ranges_were_given() {
    for peer in ["10.244.2.7", "172.31.0.9", "192.168.7.7", "100.64.3.3", "169.254.9.9", "fd00::7", "fe80::7"]
    {
        let mut world = World::demo();
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, peer, 1);
        world.wait(5_000).check(&["undeclared-active 9090/TCP"]);
        assert!(world.told("undeclared-external").is_empty(), "{peer}");
        assert_eq!(origin(&world), Some(Origin::Pod), "{peer}");
    }
}

#[test]
fn an_address_of_the_internet_is_an_outsider_where_no_ranges_were_given() {
    for peer in ["100.128.0.1", "172.32.0.1", "11.0.0.1", "2001:db8::1", "203.0.113.9"] {
        let mut world = World::demo();
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, peer, 1);
        world.wait(5_000).check(&["undeclared-external 9090/TCP"]);
    }
}

#[test]
fn where_pods_have_addresses_of_the_internet_a_neighbour_of_theirs_is_no_outsider() {
    for (own, neighbour, outsider) in
        [("2001:db8:7:1::2", "2001:db8:7:9::7", "2001:db8:8::7"), ("11.1.4.2", "11.1.200.7", "11.2.4.7")]
    {
        let mut world = World::demo();
        world.apply(told("cri", pod("other").address(own)));
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, neighbour, 1);
        world.wait(5_000).check(&["undeclared-active 9090/TCP"]);
        world.calls(APP, Protocol::Tcp, 9090, outsider, 1).wait(5_000);
        world.check(&["undeclared-external 9090/TCP"]);
    }
}

#[test]
fn where_ranges_were_given_a_private_address_beyond_them_is_an_outsider() {
    let pod_ranges = vec!["10.1.0.0/16".parse().expect("a range")];
    let mut world = World::with(EngineOptions { pod_ranges, ..EngineOptions::default() });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "192.168.7.7", 1);
    world.wait(5_000).check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn what_the_registries_keep_off_the_internet_is_some_pods() {
    for peer in
        ["240.77.0.9", "198.18.0.1", "198.19.255.1", "192.0.0.1", "0.0.0.0", "2001:2::1", "5f00::1", "100::1"]
    {
        let mut world = World::demo();
        world.apply(told("cri", pod("far").address("240.10.0.5")));
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, peer, 1);
        world.wait(5_000).check(&["undeclared-active 9090/TCP"]);
        assert_eq!(origin(&world), Some(Origin::Pod), "{peer}");
        assert_eq!(world.listener().traffic.peers[0].reference, None, "{peer}");
    }
}

#[test]
fn kubelet_behind_an_ambient_mesh_is_the_node() {
    for peer in ["169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"] {
        let mut world = World::demo();
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, peer, 1);
        world.wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
        assert_eq!(origin(&world), Some(Origin::Node), "{peer}");
    }
}

/// The host's netns with these addresses beside its own.
fn node_with(addresses: impl Iterator<Item = String>) -> Input {
    let mut node = host();
    if let Input::NetnsSeen { facts, .. } = &mut node {
        facts.addresses.extend(addresses.filter_map(|address| address.parse::<ipnet::IpNet>().ok()));
    }
    node
}

#[test]
fn every_address_of_the_node_is_the_nodes_however_many_there_are() {
    let many = || (0..=255).flat_map(|high| (0..64).map(move |low| format!("203.{high}.113.{low}/32")));
    let mut world = World::demo();
    world.apply(node_with(many())).listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Protocol::Tcp, 9090, "203.255.113.63", 1).wait(5_000);
    world.check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(origin(&world), Some(Origin::Node));
    let mut fewer = node_with(many().filter(|address| address != "203.7.113.9/32"));
    if let Input::NetnsSeen { at, .. } = &mut fewer {
        *at = world.now;
    }
    world.apply(fewer).calls(APP, Protocol::Tcp, 9090, "203.7.113.9", 1).wait(5_000);
    world.check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn a_neighbour_of_the_node_is_no_outsider() {
    for (network, neighbour, is_outside) in [
        ("203.0.113.7/24", "203.0.113.200", false),
        ("203.0.113.7/24", "203.0.114.200", true),
        ("203.0.113.7/32", "203.0.113.8", true),
        ("2606:4700::7/64", "2606:4700::9", false),
    ] {
        let mut world = World::demo();
        world.apply(node_with(std::iter::once(network.to_owned())));
        world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, neighbour, 1).wait(5_000);
        let code = if is_outside { "undeclared-external 9090/TCP" } else { "undeclared-active 9090/TCP" };
        world.check(&[code]);
    }
}

#[test]
fn a_pod_cannot_teach_that_the_internet_is_pods() {
    let mut world = World::demo();
    world.apply(netns(77, "nested", "1.0.0.1/1")).apply(netns(78, "own", "203.0.113.9/24"));
    world.listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Protocol::Tcp, 9090, "5.6.7.8", 1).wait(5_000).check(&["undeclared-external 9090/TCP"]);
    world.close(APP, 10).listen(APP, 11, 9091).wait(6_000);
    world.calls(APP, Protocol::Tcp, 9091, "203.0.113.9", 1).wait(5_000);
    world.check(&["undeclared-external 9091/TCP"]);
}

#[test]
fn a_call_of_the_node_before_its_addresses_are_known_raises_nothing() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()])).listen(APP, 10, 9090);
    world.wait(6_000).calls(APP, Protocol::Tcp, 9090, "192.168.1.10", 1).wait(1_000);
    let mut node = host();
    if let Input::NetnsSeen { facts, .. } = &mut node {
        facts.addresses.push("192.168.1.10/24".parse().expect("an address"));
    }
    world.apply(node).wait(10_000).check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(origin(&world), Some(Origin::Node));
}

#[test]
fn the_end_of_one_netns_leaves_its_neighbours_addresses_alone() {
    let mut world = World::demo();
    let at = world.now;
    let gone = NetnsId(77);
    world.apply(netns(77, "other", "10.1.0.3/24"));
    world.apply(Input::NetnsGone { netns: gone, at });
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    world.check(&["undeclared-active 9090/TCP"]);
    assert!(world.engine.knows_netns(NetnsId(CURLER)));
}
