//! Connections that a rule in the pod redirects to another port, as for the proxy of a service mesh.

use std::num::NonZeroU16;

use portolan_engine::model::connection::{ConnectionFact, ConnectionOpened};
use portolan_engine::model::identity::{Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::ServedBy;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{ContainerKind, Pod};
use portolan_engine::model::traffic::{Dialled, Origin, PeerDelta, ViaKind};

use crate::objects::{number, sends, service, services};
use crate::world::{
    APP, World, cgroup, drained, host, ip, netns, opened, opened_in, peer, pod, pods, port, scan,
};

/// Connections from a peer that a socket of another port takes.
fn redirected(world: &World, address: &str, connections: u64, to: u16) -> PeerDelta {
    let packets = connections * 5;
    let accepted_by = NonZeroU16::new(to);
    PeerDelta { connections, packets, bytes: packets * 100, accepted_by, ..peer(address, world.now) }
}

fn meshed() -> Pod {
    pod("web")
        .at("app")
        .uid("web")
        .container("web", ContainerKind::Regular, &[(8080, Protocol::Tcp)])
        .container("istio-proxy", ContainerKind::Regular, &[])
        .into()
}

/// A pod with a sidecar that takes every connection on 15006, and an application on 5000.
fn mesh() -> World {
    let mut world = World::new();
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(2, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![meshed(), pod("curler").at("curler").into()]));
    let (proxy, app) = (cgroup("web", "istio-proxy"), cgroup("web", "web"));
    world.listen_in(&proxy, APP, 10, 15_006).listen_in(&app, APP, 11, 5_000).wait(6_000);
    world
}

impl World {
    fn drain_tcp(&mut self, number: u16, peers: Vec<PeerDelta>) -> &mut Self {
        self.drain(APP, Protocol::Tcp, number, drained(peers))
    }
}

#[test]
fn five_calls_through_the_proxy_are_five_connections_of_the_caller() {
    let mut world = mesh();
    world.check(&["undeclared-explained 15006/TCP", "undeclared-reachable 5000/TCP"]);
    let from_outside = redirected(&world, "10.1.0.3", 5, 15_006);
    let of_proxy = PeerDelta { connections: 5, ..peer("127.0.0.6", world.now) };
    world.drain_tcp(5_000, vec![from_outside, of_proxy]);
    world.check(&["undeclared-active 5000/TCP", "undeclared-explained 15006/TCP"]);
    let listeners: Vec<_> = world.engine.listeners().collect();
    let traffic = &listeners[0].traffic;
    assert_eq!((traffic.connections, traffic.bytes, traffic.peers.len()), (5, 2_500, 1));
    let caller = &traffic.peers[0];
    assert_eq!((caller.reference.as_deref(), caller.origin), (Some("demo/curler"), Origin::Pod));
    let via = caller.via.as_deref().expect("a way in");
    assert_eq!((via.kind, via.address, via.port), (ViaKind::Proxy, ip("10.1.0.2"), 15_006));
    let message = world
        .engine
        .findings()
        .find(|f| f.code.as_str() == "undeclared-active")
        .expect("one")
        .message
        .clone();
    assert!(
        message
            .contains("demo/curler (10.1.0.3) connected 5 times through the pod's own proxy on port 15006"),
        "{message}"
    );
    let counted: u64 = world.engine.counts().totals.connections.values().sum();
    assert_eq!(counted, 5, "metrics count them once too");
}

#[test]
fn calls_within_the_pod_beside_those_of_the_proxy_still_count() {
    let mut world = mesh();
    let from_outside = redirected(&world, "10.1.0.3", 5, 15_006);
    let of_proxy = PeerDelta { connections: 4, ..peer("127.0.0.6", world.now) };
    let own = PeerDelta { connections: 3, ..peer("127.0.0.1", world.now) };
    world.drain_tcp(5_000, vec![from_outside, of_proxy, own]);
    let traffic = world.listener().traffic.clone();
    let peers: Vec<(String, u64)> =
        traffic.peers.iter().map(|peer| (peer.address.to_string(), peer.connections)).collect();
    assert_eq!(traffic.connections, 7);
    assert_eq!(peers, [("10.1.0.3".to_owned(), 5), ("127.0.0.1".to_owned(), 2)]);
}

#[test]
fn a_way_through_the_node_shows_and_counts_rather_than_the_proxy() {
    let mut world = mesh();
    let dialled = Dialled { to: (ip("192.0.2.10"), 30_080), from: ip("203.0.113.9") };
    let from_node = redirected(&world, "10.1.0.1", 1, 15_006);
    world.apply(Input::Connections(vec![ConnectionFact::Opened(ConnectionOpened {
        cookie: SocketCookie(99),
        port: port(APP, Protocol::Tcp, 5_000),
        local: ip("10.1.0.2"),
        remote: (ip("10.1.0.1"), 40_000),
        dialled: Some(dialled),
        accepted_by: NonZeroU16::new(15_006),
        at: world.now,
    })]));
    world.drain_tcp(5_000, vec![from_node]).wait(10_000);
    assert!(world.findings().contains(&"undeclared-external 5000/TCP".to_owned()));
    let via = world.listener().traffic.peers[0].via.clone().expect("a way in");
    assert_eq!(via.kind, ViaKind::NodeAddress);
    let connection = world.engine.connections().next().expect("it is recorded");
    assert_eq!(connection.via.as_ref().map(|via| via.kind), Some(ViaKind::NodeAddress));
}

#[test]
fn a_recorded_connection_names_the_proxy_that_takes_it() {
    let mut world = mesh();
    world.apply(Input::Connections(vec![ConnectionFact::Opened(ConnectionOpened {
        cookie: SocketCookie(99),
        port: port(APP, Protocol::Tcp, 5_000),
        local: ip("10.1.0.2"),
        remote: (ip("10.1.0.3"), 40_000),
        dialled: None,
        accepted_by: NonZeroU16::new(15_006),
        at: world.now,
    })]));
    let connection = world.engine.connections().next().expect("it is recorded");
    let via = connection.via.as_deref().expect("a way in");
    assert_eq!((via.kind, via.address, via.port), (ViaKind::Proxy, ip("10.1.0.2"), 15_006));
    assert_eq!(connection.port.port.get(), 5_000);
}

#[test]
fn behind_a_meshs_proxy_a_port_without_a_socket_is_no_port_of_the_pod() {
    let mut world = mesh();
    for number in 1..=200_u16 {
        let call = redirected(&world, "10.1.0.3", 1, 15_006);
        world.drain_tcp(20_000 + number, vec![call]);
    }
    world.wait(10_000);
    assert_eq!(world.listeners(), ["15006/TCP web", "5000/TCP web"]);
    world.check(&["undeclared-explained 15006/TCP", "undeclared-reachable 5000/TCP"]);
    let proxy = world.engine.listeners().find(|one| one.port.port.get() == 15_006).expect("the proxy");
    assert_eq!(proxy.traffic.connections, 200);
    assert_eq!(proxy.traffic.peers[0].reference.as_deref(), Some("demo/curler"));
    assert_eq!(world.engine.limits()[0].1, 2, "nothing is kept for them");
    let counted: u64 = world.engine.counts().totals.connections.values().sum();
    assert_eq!(counted, 200);
}

#[test]
fn a_socket_that_is_learned_after_its_first_calls_keeps_them() {
    let mut world = mesh();
    let call = redirected(&world, "10.1.0.3", 2, 15_006);
    world.drain_tcp(7_000, vec![call]).wait(1_000);
    world.listen_in(&cgroup("web", "web"), APP, 12, 7_000).wait(6_000);
    assert!(world.findings().contains(&"undeclared-active 7000/TCP".to_owned()));
}

#[test]
fn an_application_behind_the_proxy_that_ends_closes_its_port() {
    let mut world = mesh();
    let call = redirected(&world, "10.1.0.3", 2, 15_006);
    world.drain_tcp(5_000, vec![call]).close(APP, 11).wait(10_000);
    assert_eq!(world.listeners(), ["15006/TCP web"]);
    assert_eq!(world.printed(5_000), (1, 1));
    assert_eq!(world.listener().traffic.connections, 0, "they were calls of the application");
}

/// A pod that declares 80 and redirects it to the socket on 8080.
fn redirecting() -> World {
    let mut world = World::new();
    let web = pod("web").at("app").label("app", "web");
    let web = web.container("web", ContainerKind::Regular, &[(80, Protocol::Tcp)]);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(2, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![web.into(), pod("curler").at("curler").into()]));
    world.apply(services(vec![sends(service("web", "web"), 80, Protocol::Tcp, number(80))]));
    let at = world.now;
    world.apply(scan(APP, at, &[])).listen(APP, 10, 8_080);
    world
}

#[test]
fn a_declared_port_that_is_redirected_is_served() {
    let mut world = redirecting();
    world.wait(2_000);
    let calls = PeerDelta { bytes: 900_000, ..redirected(&world, "10.1.0.3", 3, 8_080) };
    world.drain_tcp(80, vec![calls]).wait(4_000);
    assert_eq!(world.listeners(), ["80/TCP web", "8080/TCP web"]);
    let listener = world.listener();
    assert_eq!(listener.served_by, ServedBy::Forwarded);
    assert_eq!(listener.forwarded_to, Some((ip("10.1.0.2"), 8_080)));
    assert_eq!((listener.traffic.connections, listener.traffic.bytes), (3, 900_000));
    assert_eq!((listener.process.clone(), listener.container.clone()), (None, None));
    // To be called rarely does not make it stale or dangling.
    world.wait(600_000).check(&["undeclared-reachable 8080/TCP"]);
    world.close(APP, 10).wait(61_000);
    assert!(world.listeners().is_empty(), "what served it is gone");
    world.check(&["dangling-service-port", "stale-declaration"]);
}

#[test]
fn an_undeclared_port_that_is_redirected_is_a_port_of_the_pod() {
    let mut world = redirecting();
    let calls = redirected(&world, "10.1.0.3", 3, 8_080);
    world.drain_tcp(9_000, vec![calls]).wait(10_000);
    world.check(&["undeclared-active 9000/TCP", "undeclared-reachable 8080/TCP"]);
    let finding = world.engine.findings().find(|f| f.code.as_str() == "undeclared-active").expect("one");
    assert!(
        finding
            .message
            .starts_with("port 9000/TCP is forwarded to 10.1.0.2:8080 but not declared by pod demo/web"),
        "{}",
        finding.message
    );
}

#[test]
fn a_redirection_of_every_port_leaves_room_for_sockets() {
    let mut world = World::with(EngineOptions { max_listeners: 400, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![pod("web").at("app").into()]));
    world.listen(APP, 10, 8_080);
    for number in 1..=1_000_u16 {
        let call = redirected(&world, "10.1.0.3", 1, 8_080);
        world.drain_tcp(20_000 + number, vec![call]);
    }
    for cookie in 100..150 {
        world.listen(APP, cookie, u16::try_from(cookie).unwrap_or_default());
    }
    assert!(world.listeners().contains(&"149/TCP web".to_owned()));
    assert!(world.engine.counts().totals.lost.contains_key("engine-listeners-full"));
    world.wait(10_000).check(&["port-storm"]);
}

const ZTUNNEL: &str = "aaaa-bbbb";

fn ztunnel() -> crate::world::PodBuilder {
    pod("ztunnel-x").uid(ZTUNNEL).at("ztunnel").label("app", "ztunnel").container(
        "istio-proxy",
        ContainerKind::Regular,
        &[],
    )
}

#[test]
fn sockets_of_an_ambient_mesh_belong_to_its_own_container() {
    for is_late in [false, true] {
        let mut world = World::new();
        let web = || -> Pod {
            pod("web").at("app").container("web", ContainerKind::Regular, &[(8080, Protocol::Tcp)]).into()
        };
        world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(2, "curler", "10.1.0.3/24"));
        world.apply(pods(if is_late { vec![web()] } else { vec![web(), ztunnel().into()] }));
        let group = cgroup(ZTUNNEL, "istio-proxy");
        for (cookie, number) in [(10, 15_008), (11, 15_006), (12, 15_001), (13, 9_999)] {
            world.listen_in(&group, APP, cookie, number);
        }
        if is_late {
            world.wait(1_000).apply(pods(vec![web(), ztunnel().into()]));
        }
        world.wait(6_000).calls(APP, Protocol::Tcp, 15_008, "10.1.0.3", 1).check(&[
            "undeclared-explained 15001/TCP",
            "undeclared-explained 15006/TCP",
            "undeclared-explained 15008/TCP",
            "undeclared-reachable 9999/TCP",
        ]);
        for listener in world.engine.listeners() {
            assert_eq!(listener.pod.as_ref().map(|pod| pod.name.as_str()), Some("web"));
            assert_eq!(listener.container.as_ref().map(|one| one.name.as_str()), Some("istio-proxy"));
        }
        let other =
            world.engine.findings().find(|f| f.port.is_some_and(|port| port.get() == 9_999)).expect("one");
        assert!(
            other.message.contains("served by python3 of pod demo/ztunnel-x but not"),
            "{}",
            other.message
        );
    }
}

#[test]
fn a_pod_that_only_calls_itself_ztunnel_explains_nothing() {
    let mut world = World::new();
    let other = pod("ztunnel-x").uid(ZTUNNEL).container("istio-proxy", ContainerKind::Regular, &[]);
    world
        .apply(netns(APP, "app", "10.1.0.2/24"))
        .apply(pods(vec![pod("web").at("app").into(), other.into()]));
    world.apply(opened_in(&cgroup(ZTUNNEL, "istio-proxy"), APP, 10, 15_008, world.now)).wait(6_000);
    world.check(&["undeclared-reachable 15008/TCP"]);
    let at = world.now;
    world.apply(opened(APP, 11, Protocol::Tcp, 15_006, "0.0.0.0", at)).wait(6_000);
    world.check(&["undeclared-reachable 15006/TCP", "undeclared-reachable 15008/TCP"]);
}
