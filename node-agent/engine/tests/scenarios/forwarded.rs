//! Ports that a pod's own rules forward to another netns or a virtual machine.

use portolan_engine::model::change::Change;
use portolan_engine::model::identity::{NetnsId, Protocol};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::ServedBy;
use portolan_engine::model::netns::{ForwardedPort, ForwardedPorts};
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{ContainerKind, Pod};
use portolan_engine::model::traffic::{PeerDelta, ViaKind};

use crate::objects::{number, sends, service, services};
use crate::world::{APP, World, drained, host, ip, netns, peer, pod, pods, port, scan};

/// A pod that a Service sends to on 22 and that declares 8080, and a caller.
fn forwarding() -> World {
    let mut world = World::new();
    let vm = pod("vm").at("app").label("app", "vm");
    let vm: Pod = vm.container("compute", ContainerKind::Regular, &[(8080, Protocol::Tcp)]).into();
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(2, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![vm, pod("curler").at("curler").into()]));
    world.apply(services(vec![sends(service("vm", "vm"), 22, Protocol::Tcp, number(22))]));
    let at = world.now;
    world.apply(scan(APP, at, &[])).wait(1_000);
    world
}

impl World {
    fn forwards(&mut self, protocol: Protocol, number: u16, to: &str, callers: &[(&str, u64)]) -> &mut Self {
        let callers = callers.iter().map(|(address, count)| (ip(address), *count)).collect();
        let of = port(APP, protocol, number);
        let listed = ForwardedPort { port: of, to: (ip(to), 2_222), callers };
        let (netns, at) = (NetnsId(APP), self.now);
        self.apply(Input::Forwarded(ForwardedPorts { netns, at, ports: vec![listed] }))
    }
}

#[test]
fn a_forwarded_port_is_a_port_of_the_pod_with_its_traffic() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 22, "172.17.0.2", &[("10.1.0.3", 3)]);
    assert!(world.said.contains(&Change::Watch(port(APP, Protocol::Tcp, 22))), "so that packets are counted");
    let packets = PeerDelta { packets: 40, bytes: 9_000, ..peer("10.1.0.3", world.now) };
    world.drain(APP, Protocol::Tcp, 22, drained(vec![packets])).wait(6_000);
    world.check(&["undeclared-explained 22/TCP"]);
    let listener = world.listener();
    assert_eq!(
        (listener.served_by, listener.forwarded_to),
        (ServedBy::Forwarded, Some((ip("172.17.0.2"), 2_222)))
    );
    assert_eq!((listener.traffic.connections, listener.traffic.bytes), (3, 9_000));
    let caller = &listener.traffic.peers[0];
    assert_eq!((caller.reference.as_deref(), caller.connections), (Some("demo/curler"), 3));
    assert_eq!(
        caller.via.as_ref().map(|via| (via.kind, via.address)),
        Some((ViaKind::Forwarded, ip("172.17.0.2")))
    );
    assert!(world.finding().message.starts_with("port 22/TCP is forwarded to 172.17.0.2:2222 but"));
}

#[test]
fn an_undeclared_forwarded_port_is_judged_by_its_callers() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 9_000, "172.17.0.2", &[("10.1.0.3", 1)]).wait(6_000);
    assert!(world.findings().contains(&"undeclared-active 9000/TCP".to_owned()));
    world.forwards(Protocol::Tcp, 9_000, "172.17.0.2", &[("203.0.113.9", 1)]).wait(6_000);
    assert!(world.findings().contains(&"undeclared-external 9000/TCP".to_owned()));
    world.forwards(Protocol::Udp, 51_820, "172.17.0.2", &[("10.1.0.3", 1)]).wait(6_000);
    assert!(world.findings().contains(&"undeclared-active 51820/UDP".to_owned()), "{:?}", world.findings());
}

#[test]
fn what_is_expected_and_forwarded_is_neither_stale_nor_dangling() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 22, "172.17.0.2", &[("10.1.0.3", 3)]);
    world.forwards(Protocol::Tcp, 8_080, "172.17.0.3", &[("10.1.0.3", 1)]).wait(70_000);
    world.check(&["undeclared-explained 22/TCP"]);
    // To be called rarely does not make it stale.
    world.wait(3_600_000).check(&["undeclared-explained 22/TCP"]);
}

#[test]
fn what_nothing_expects_closes_when_it_was_not_seen_for_five_minutes() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 9_000, "172.17.0.2", &[("10.1.0.3", 1)]).wait(200_000);
    // Connection tracking still remembers the connection.
    world.forwards(Protocol::Tcp, 9_000, "172.17.0.2", &[]).wait(299_000);
    assert_eq!(world.listeners(), ["9000/TCP vm"]);
    world.wait(2_000);
    assert!(world.listeners().is_empty());
    assert_eq!(world.printed(9_000), (1, 1));
    world.forwards(Protocol::Tcp, 9_000, "172.17.0.2", &[("10.1.0.3", 1)]);
    assert_eq!(world.listeners(), ["9000/TCP vm"]);
}

#[test]
fn the_end_of_the_netns_ends_what_it_forwards() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 22, "172.17.0.2", &[("10.1.0.3", 3)]).wait(6_000);
    let at = world.now;
    world.apply(Input::NetnsGone { netns: NetnsId(APP), at });
    assert!(world.listeners().is_empty());
    world.check(&[]);
}

#[test]
fn a_socket_of_the_port_takes_over_and_gives_back() {
    let mut world = forwarding();
    world.forwards(Protocol::Tcp, 22, "172.17.0.2", &[("10.1.0.3", 3)]).wait(6_000);
    world.listen(APP, 10, 22);
    assert_eq!((world.listener().served_by, world.listener().forwarded_to), (ServedBy::Process, None));
    world.close(APP, 10);
    assert_eq!(world.listener().served_by, ServedBy::Forwarded);
    assert_eq!(world.printed(22), (3, 0));
    world.wait(6_000).check(&["undeclared-explained 22/TCP"]);
}

#[test]
fn every_port_there_is_forwarded_stays_within_its_share() {
    let mut world = World::with(EngineOptions { max_listeners: 400, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![pod("vm").at("app").into()]));
    for number in 1..=1_000 {
        world.forwards(Protocol::Tcp, number, "172.17.0.2", &[("10.1.0.3", 1)]);
    }
    world.listen(APP, 10, 40_000).wait(6_000).check(&["port-storm"]);
    assert!(world.listeners().contains(&"40000/TCP vm".to_owned()));
    assert!(world.listeners().len() < 200, "{}", world.listeners().len());
}

#[test]
fn behind_a_guests_tap_nothing_is_called_stale_or_dangling() {
    for has_guest in [false, true] {
        let mut world = forwarding();
        let mut facts = netns(APP, "app", "10.1.0.2/24");
        if let Input::NetnsSeen { facts, .. } = &mut facts {
            facts.has_guest = has_guest;
        }
        world.apply(facts).wait(70_000);
        let expected: &[&str] = if has_guest { &[] } else { &["dangling-service-port", "stale-declaration"] };
        world.check(expected);
    }
    let mut world = forwarding();
    world.wait(70_000).check(&["dangling-service-port", "stale-declaration"]);
    let mut facts = netns(APP, "app", "10.1.0.2/24");
    if let Input::NetnsSeen { facts, at } = &mut facts {
        facts.has_guest = true;
        *at = world.now;
    }
    world.apply(facts).check(&[]);
}
