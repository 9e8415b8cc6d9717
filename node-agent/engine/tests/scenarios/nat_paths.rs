//! NAT paths: what the node's connection tracking shows about Services, NodePorts, hostPorts, and the client behind the
//! node's own address.

use std::sync::Arc;

use portolan_engine::model::change::Change;
use portolan_engine::model::connection::{Connection, ConnectionFact, ConnectionOpened};
use portolan_engine::model::identity::{BootTime, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{ContainerKind, Pod};
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind};
use portolan_engine::model::traffic::{Dialled, Origin, Peer, ViaKind};
use proptest::prelude::*;

use crate::objects::{number, sends, service, service_changed, service_gone};
use crate::world::{APP, CURLER, World, app, call, host, ip, ms, netns, opened, pod, pods, port};

const CURLERS: &str = "10.1.0.3";
const NODE: &str = "192.0.2.10";
const OUTSIDER: &str = "203.0.113.9";
const CLUSTER_IP: &str = "10.96.0.10";

/// The client, and the address and the port that it dialled.
type Tracked = (&'static str, &'static str, u16);

/// A connection from `peer` as the pod sees it, with its client and dialled address as connection tracking shows them.
pub fn comes(peer: &str, dialled: Option<(&str, &str, u16)>, cookie: u64, at: BootTime) -> Input {
    let dialled = dialled.map(|(from, to, port)| Dialled { to: (ip(to), port), from: ip(from) });
    Input::Connections(vec![ConnectionFact::Opened(ConnectionOpened {
        cookie: SocketCookie(cookie),
        port: port(APP, Protocol::Tcp, 9090),
        local: ip("10.1.0.2"),
        remote: (ip(peer), 40_000),
        dialled,
        accepted_by: None,
        at,
    })])
}

/// The demo whose undeclared port 9090 is past its grace time.
fn serving() -> World {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    world
}

/// One caller in both the connection's record and the counters.
fn called(peer: &str, dialled: Option<(&str, &str, u16)>) -> World {
    let mut world = serving();
    let at = world.now;
    world.apply(comes(peer, dialled, 1, at)).calls(APP, Protocol::Tcp, 9090, peer, 1);
    world
}

fn peer(world: &World) -> Peer {
    world.listener().traffic.peers.first().cloned().expect("a peer")
}

/// The kind of the dialled address, and its Service.
fn via_of(peer: &Peer) -> (ViaKind, Option<&str>) {
    let via = peer.via.as_deref().expect("a dialled address");
    (via.kind, via.reference.as_deref())
}

/// A Service without a selector, whose endpoints are made by hand. It explains no port.
fn by_hand(name: &str, address: &str) -> Service {
    let mut service = sends(service(name, "any"), 80, Protocol::Tcp, number(9090));
    service.selector.clear();
    service.addresses = vec![ip(address)];
    service
}

fn connection(world: &World) -> Arc<Connection> {
    let found = world.said.iter().find_map(|change| match change {
        Change::Connection(connection) => Some(Arc::clone(connection)),
        _ => None,
    });
    found.expect("a connection")
}

#[test]
fn a_pod_that_dials_a_cluster_ip_is_a_service_caller_and_keeps_its_name() {
    let mut world = called(CURLERS, Some((CURLERS, CLUSTER_IP, 80)));
    world.apply(service_changed(by_hand("web", CLUSTER_IP))).wait(1_000);
    world.check(&["undeclared-active 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!((peer.origin, peer.reference.as_deref()), (Origin::Service, Some("demo/curler")));
    assert_eq!(via_of(&peer), (ViaKind::ClusterIp, Some("demo/web")));
    assert_eq!(peer.via.expect("a dialled address").client, None, "the pod saw the client's own address");
    let message = world.finding().message.clone();
    assert!(
        message.contains("demo/curler (10.1.0.3) connected once through Service demo/web (10.96.0.10:80)"),
        "{message}"
    );
    let connection = connection(&world);
    assert_eq!((connection.origin, connection.reference.as_deref()), (Origin::Service, Some("demo/curler")));
    assert_eq!(connection.via.as_ref().expect("a dialled address").port, 80);
}

#[test]
fn an_outsider_through_a_node_port_that_keeps_its_address_stays_external() {
    let mut service = by_hand("web", CLUSTER_IP);
    service.kind = ServiceKind::NodePort;
    service.ports[0].node_port = 30_080.try_into().ok();
    let mut world = called(OUTSIDER, Some((OUTSIDER, NODE, 30_080)));
    world.apply(service_changed(service)).wait(5_000).check(&["undeclared-external 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!(peer.origin, Origin::External);
    assert_eq!(via_of(&peer), (ViaKind::NodePort, Some("demo/web")));
    let message = world.finding().message.clone();
    assert!(
        message.contains("203.0.113.9 connected once through NodePort 192.0.2.10:30080 of Service demo/web"),
        "{message}"
    );
}

#[test]
fn an_outsider_behind_the_nodes_own_address_is_external_all_the_same() {
    let mut world = called(NODE, Some((OUTSIDER, NODE, 30_080)));
    assert!(world.told("undeclared-external").is_empty(), "an address that nobody claims counts 3 s later");
    world.wait(5_000).check(&["undeclared-external 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!((peer.address, peer.origin), (ip(NODE), Origin::External));
    assert_eq!(via_of(&peer), (ViaKind::NodeAddress, None));
    assert_eq!(peer.via.expect("a dialled address").client, Some(ip(OUTSIDER)));
    let message = world.finding().message.clone();
    assert!(message.contains("203.0.113.9 connected once through the node's 192.0.2.10:30080"), "{message}");
}

#[test]
fn a_pod_that_dials_a_node_port_shows_that_the_outside_can() {
    // The node replaces its address by its own, as it does for external clients.
    let mut world = called("10.1.0.1", Some((CURLERS, NODE, 30_080)));
    world.wait(1_000).check(&["undeclared-external 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!((peer.origin, peer.reference.as_deref()), (Origin::Service, Some("demo/curler")));
    let message = world.finding().message.clone();
    assert!(message.contains("where callers from outside come in too"), "{message}");
}

#[test]
fn a_host_port_that_leads_to_an_undeclared_port_is_told_as_such() {
    let ports = [(8080, Protocol::Tcp)];
    let app: Pod =
        pod("multi-port-app").at("app").container("app", ContainerKind::Regular, &ports).host_port(80).into();
    let mut world = serving();
    world.apply(pods(vec![app, pod("curler").at("curler").into()]));
    let at = world.now;
    world.apply(comes(CURLERS, Some((CURLERS, NODE, 80)), 1, at)).calls(APP, Protocol::Tcp, 9090, CURLERS, 1);
    world.wait(1_000).check(&["undeclared-external 9090/TCP"]);
    assert_eq!(via_of(&peer(&world)), (ViaKind::HostPort, None));
}

#[test]
fn a_load_balancers_and_an_external_address_lead_in_from_outside() {
    let outside = ExternalAccess {
        balancer: vec!["198.51.100.7".to_owned()],
        external_ips: vec![ip("198.51.100.8")],
        ..ExternalAccess::default()
    };
    for (address, expected) in
        [("198.51.100.7", ViaKind::LoadBalancer), ("198.51.100.8", ViaKind::ExternalIp)]
    {
        let mut service = by_hand("web", address);
        service.outside = outside.clone().boxed();
        let mut world = called(CURLERS, Some((CURLERS, address, 80)));
        world.check(&["undeclared-active 9090/TCP"]);
        world.apply(service_changed(service)).wait(1_000).check(&["undeclared-external 9090/TCP"]);
        assert_eq!(via_of(&peer(&world)), (expected, Some("demo/web")));
        world.apply(service_gone("web")).wait(1_000).check(&["undeclared-active 9090/TCP"]);
        assert_eq!(via_of(&peer(&world)), (ViaKind::Unknown, None));
    }
}

#[test]
fn an_address_of_no_known_service_is_told_as_it_was_dialled() {
    let mut world = called(CURLERS, Some((CURLERS, "10.96.7.7", 443)));
    world.wait(1_000).check(&["undeclared-active 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!((peer.origin, via_of(&peer)), (Origin::Service, (ViaKind::Unknown, None)));
    let via = peer.via.expect("a dialled address");
    assert_eq!((via.address, via.port), (ip("10.96.7.7"), 443));
}

#[test]
fn without_connection_tracking_a_caller_is_where_its_address_is() {
    let mut world = called(CURLERS, None);
    world.wait(1_000).check(&["undeclared-active 9090/TCP"]);
    let peer = peer(&world);
    assert_eq!((peer.origin, peer.reference.as_deref()), (Origin::Pod, Some("demo/curler")));
    assert!(peer.via.is_none());
}

#[test]
fn the_nodes_own_calls_through_a_service_raise_nothing() {
    for from in [NODE, "127.0.0.1"] {
        let mut world = called("10.1.0.1", Some((from, CLUSTER_IP, 80)));
        world.wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
        assert_eq!(peer(&world).origin, Origin::Node, "{from}");
    }
}

#[test]
fn a_pod_that_calls_itself_through_its_service_raises_nothing() {
    let mut world = called("10.1.0.1", Some(("10.1.0.2", CLUSTER_IP, 80)));
    world.wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn outsiders_are_kept_whatever_came_before_and_after() {
    let mut world = serving();
    let at = world.now;
    for step in 0..100_u64 {
        let client = format!("10.9.0.{step}");
        world.apply(comes(NODE, Some((&client, NODE, 30_080)), 100 + step, at));
        if step == 50 {
            world.apply(comes(NODE, Some((OUTSIDER, NODE, 30_080)), 1_000, at));
        }
    }
    world.calls(APP, Protocol::Tcp, 9090, NODE, 101).wait(5_000).check(&["undeclared-external 9090/TCP"]);
    assert_eq!(peer(&world).origin, Origin::External);
    assert!(world.listener().traffic.truncated);
}

#[test]
fn a_way_that_found_no_room_still_counts_for_the_verdict() {
    // The node port sorts last, behind as many paths as are kept.
    for last in [false, true] {
        let mut world = serving();
        let at = world.now;
        let node_port = comes(CURLERS, Some((CURLERS, NODE, 30_080)), 1_000, at);
        if !last {
            world.apply(node_port.clone());
        }
        for step in 0..40_u64 {
            let address = format!("10.96.1.{step}");
            world.apply(comes(CURLERS, Some((CURLERS, &address, 80)), 100 + step, at));
        }
        if last {
            world.wait(5_000).check(&["undeclared-active 9090/TCP"]);
            world.apply(node_port);
        }
        world.wait(5_000).check(&["undeclared-external 9090/TCP"]);
        assert!(world.listener().traffic.truncated);
    }
}

#[test]
fn another_service_shares_an_address_with_another_port() {
    let mut other = by_hand("other", CLUSTER_IP);
    other.ports[0].port = 443.try_into().expect("a port");
    let mut world = called(CURLERS, Some((CURLERS, CLUSTER_IP, 443)));
    world.apply(service_changed(by_hand("web", CLUSTER_IP))).apply(service_changed(other)).wait(1_000);
    assert_eq!(via_of(&peer(&world)), (ViaKind::ClusterIp, Some("demo/other")));
}

#[test]
fn the_nodes_addresses_may_be_known_later_than_the_call() {
    let mut world = World::new();
    for input in facts(&[3], false).into_iter().skip(1) {
        world.apply(input);
    }
    assert_eq!(via_of(&peer(&world)), (ViaKind::Unknown, None));
    world.apply(host()).wait(1_000);
    assert_eq!(via_of(&peer(&world)).0, ViaKind::NodeAddress);
}

/// Callers as the pod sees them, their clients, and what they dialled.
const CALLS: [(&str, Option<Tracked>); 7] = [
    (CURLERS, Some((CURLERS, CLUSTER_IP, 80))),
    (CURLERS, None),
    (NODE, Some((OUTSIDER, NODE, 30_080))),
    (NODE, Some((CURLERS, NODE, 30_080))),
    (NODE, None),
    (OUTSIDER, Some((OUTSIDER, "198.51.100.7", 80))),
    ("10.1.0.1", Some(("127.0.0.1", CLUSTER_IP, 80))),
];

fn facts(which: &[usize], balanced: bool) -> Vec<Input> {
    let mut inputs = vec![
        host(),
        netns(APP, "app", "10.1.0.2/24"),
        netns(CURLER, "curler", "10.1.0.3/24"),
        pods(vec![app(), pod("curler").at("curler").into()]),
        opened(APP, 10, Protocol::Tcp, 9090, "0.0.0.0", ms(1_000)),
        service_changed(by_hand("web", CLUSTER_IP)),
    ];
    if balanced {
        let mut service = by_hand("lb", "198.51.100.7");
        service.outside =
            ExternalAccess { balancer: vec!["198.51.100.7".to_owned()], ..ExternalAccess::default() }.boxed();
        inputs.push(service_changed(service));
    }
    for (step, which) in which.iter().enumerate() {
        let Some((peer, dialled)) = CALLS.get(*which) else { continue };
        let at = ms(2_000 + step as u64);
        inputs.push(comes(peer, *dialled, 100 + step as u64, at));
        inputs.push(call(APP, Protocol::Tcp, 9090, peer, 1, at));
    }
    inputs
}

/// Everything that reports show at the end.
fn end(inputs: Vec<Input>) -> Vec<String> {
    let mut world = World::new();
    world.now = ms(3_000);
    for input in inputs {
        world.apply(input);
    }
    world.wait(60_000);
    let mut lines = world.findings();
    for mut peer in world.engine.listeners().flat_map(|listener| listener.traffic.peers.clone()) {
        peer.last_seen = BootTime(0);
        peer.first_seen = BootTime(0);
        lines.push(format!("{peer:?}"));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nat_paths_in_any_order_end_in_the_same_state(
        which in proptest::collection::vec(0..CALLS.len(), 0..8),
        balanced in any::<bool>(),
        order in Just((0..64_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let expected = end(facts(&which, balanced));
        let mut inputs: Vec<(usize, Input)> = order.into_iter().zip(facts(&which, balanced)).collect();
        inputs.sort_by_key(|(place, _)| *place);
        prop_assert_eq!(end(inputs.into_iter().map(|(_, input)| input).collect()), expected);
    }
}
