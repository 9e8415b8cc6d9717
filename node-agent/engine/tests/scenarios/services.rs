//! What a Service sends to a pod is refused: nothing listens, or only where the traffic does not arrive, or the pod has no
//! port of the name.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::identity::{NetnsId, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Init, Regular, Sidecar};
use portolan_engine::model::process::Holder;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind};
use portolan_engine::model::socket::{NetnsScan, ScannedSocket};
use portolan_engine::model::traffic::{PeerDelta, TrafficDrain};

use crate::objects::{named, number, sends, service, service_gone, services};
use crate::world::{
    APP, CURLER, HOST, PodBuilder, World, cgroup, drained, gone, ip, ms, netns, opened, peer, pod, port,
    scan, told,
};

/// A pod that a Service of `app: web` selects.
fn web() -> PodBuilder {
    pod("multi-port-app").at("app").label("app", "web").container("app", Regular, &[])
}

/// A Service `web` for port 8080, with these addresses.
fn to_8080(addresses: &[&str]) -> Input {
    let mut service = sends(service("web", "web"), 80, Tcp, number(8080));
    service.addresses = addresses.iter().map(|address| ip(address)).collect();
    services(vec![service])
}

/// One socket of port 8080, as a scan lists it.
fn listed(address: &str, v6_only: Option<bool>, on_loopback: bool) -> Input {
    let socket = ScannedSocket {
        cookie: SocketCookie(10),
        port: port(APP, Tcp, 8080),
        address: ip(address),
        v6_only,
        on_loopback,
        holder: Holder::Unknown,
    };
    Input::NetnsScanned(NetnsScan { netns: NetnsId(APP), at: ms(1_000), sockets: vec![socket] })
}

/// Findings of a pod with these addresses behind a Service with these, past every grace time.
fn judged(pod: PodBuilder, service: &[&str], socket: Input) -> World {
    let mut world = World::demo();
    world.apply(told("file", pod)).apply(to_8080(service)).apply(socket).wait(61_000);
    world
}

/// Addresses of a pod, of a Service, and of a socket; true if the socket refuses IPv4; whether callers are refused.
type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, Option<bool>, bool);

const DANGLING: &[&str] = &["dangling-service-port"];

#[test]
fn a_service_to_a_port_on_loopback_is_dangling_beside_the_ports_own_finding() {
    let mut world = judged(web(), &[], listed("127.0.0.1", None, false));
    world.check(&["dangling-service-port", "undeclared-loopback 8080/TCP"]);
    let finding = world.engine.findings().find(|finding| finding.listener.is_none()).expect("dangling");
    assert_eq!(
        finding.message,
        "Service web sends traffic to port 8080/TCP of pod demo/multi-port-app but the process listens on loopback only, so \
         callers are refused: let it listen on the pod's address, or correct the Service's targetPort"
    );
    assert_eq!(finding.port, NonZeroU16::new(8080));
    world.listen(APP, 11, 8080).wait(6_000).check(&["undeclared-explained 8080/TCP"]);
}

#[test]
fn a_declared_port_on_loopback_is_dangling_for_its_service_and_not_stale() {
    let declares = || web().container("more", Regular, &[(8080, Tcp)]);
    for (address, on_loopback) in [("127.0.0.1", false), ("::1", false), ("0.0.0.0", true), ("::", true)] {
        judged(declares(), &[], listed(address, None, on_loopback)).check(DANGLING);
    }
    let mut world = World::demo();
    world.apply(told("file", declares())).apply(listed("127.0.0.1", None, false)).wait(61_000).check(&[]);
}

#[test]
fn a_socket_in_a_family_in_which_the_service_does_not_send_is_dangling() {
    let declares = |addresses: &[&str]| {
        let pod = web().container("more", Regular, &[(8080, Tcp)]);
        addresses.iter().fold(pod, |pod, address| pod.address(address))
    };
    let (v4, v6) = ("10.1.0.2", "fd00::2");
    let cases: &[Case<'_>] = &[
        (&[v4], &["10.96.0.1"], "0.0.0.0", None, false),
        (&[v4], &["10.96.0.1"], "::", Some(false), false),
        (&[v4], &["10.96.0.1"], "::", None, false),
        (&[v4], &["10.96.0.1"], "::", Some(true), true),
        (&[v4], &[], "::", Some(true), true),
        (&[v6], &[], "0.0.0.0", None, true),
        (&[v4, v6], &["fd96::1"], "0.0.0.0", None, true),
        (&[v4, v6], &["fd96::1"], "::", Some(true), false),
        (&[v4, v6], &["10.96.0.1", "fd96::1"], "0.0.0.0", None, false),
        (&[], &["fd96::1"], "0.0.0.0", None, true),
        (&[], &[], "::", Some(true), false),
        (&[v4], &["fd96::1"], "0.0.0.0", None, true),
        // An address that is not the pod's, as of another interface, gets nothing from a Service.
        (&[v4], &[], v4, None, false),
        (&[v4], &[], "192.168.9.2", None, true),
        (&[v4], &[], v6, None, true),
        (&[v4, v6], &[], v6, None, false),
        (&[], &[], "192.168.9.2", None, false),
    ];
    for (pod, service, address, v6_only, is_refused) in cases {
        let world = judged(declares(pod), service, listed(address, *v6_only, false));
        let expected = if *is_refused { DANGLING } else { &[] };
        assert_eq!(world.findings(), expected, "{pod:?} {service:?} {address} {v6_only:?}");
    }
    let world = judged(declares(&[v4]), &["10.96.0.1"], listed("::", Some(true), false));
    let message = world.finding().message.clone();
    assert!(message.contains("takes no IPv4 calls to the pod's address"), "{message}");
}

#[test]
fn the_grace_time_of_each_fault_runs_by_itself() {
    let mut world =
        judged(web().container("more", Regular, &[(8080, Tcp)]), &[], listed("127.0.0.1", None, false));
    world.check(DANGLING);
    world.close(APP, 10).wait(1_000).check(DANGLING);
    assert!(world.finding().message.contains("nothing listens on it"), "{}", world.finding().message);
    world.wait(61_000).check(&["dangling-service-port", "stale-declaration"]);
    assert_eq!(
        world.told("dangling-service-port"),
        [FindingState::Open],
        "a process that is gone is no news"
    );
}

#[test]
fn what_a_proxy_or_a_rule_takes_is_not_refused() {
    for kind in [Regular, Sidecar] {
        let meshed = web().container("istio-proxy", kind, &[]);
        judged(meshed, &[], listed("127.0.0.1", None, false)).check(&["undeclared-loopback 8080/TCP"]);
    }
    let debugged = web().container("istio-proxy", Ephemeral, &[]);
    judged(debugged, &[], listed("127.0.0.1", None, false))
        .check(&["dangling-service-port", "undeclared-loopback 8080/TCP"]);
    // A rule redirects calls to 8080 to port 9000 of the pod.
    let mut world = judged(web(), &[], listed("127.0.0.1", None, false));
    let at = world.now;
    let caller = PeerDelta { connections: 1, accepted_by: NonZeroU16::new(9000), ..peer("10.1.0.3", at) };
    let ports = BTreeMap::from([(port(APP, Tcp, 8080), drained(vec![caller]))]);
    world.apply(Input::Traffic(TrafficDrain { at, ports })).wait(5_000);
    assert!(!world.findings().iter().any(|line| line.starts_with("dangling")), "{:?}", world.findings());
}

#[test]
fn pods_that_get_no_traffic_of_services_have_no_dangling_port() {
    let mut world = judged(web(), &[], listed("127.0.0.1", None, false));
    world.apply(told("file", web().ready(false))).check(&["undeclared-loopback 8080/TCP"]);
    world.apply(gone("file", "uid-multi-port-app")).check(&[]);
}

/// A pod of the Service `web` in the netns of the curler.
fn other() -> PodBuilder {
    pod("other").at("curler").label("app", "web")
}

fn to_http() -> Input {
    services(vec![sends(service("web", "web"), 80, Tcp, named("http"))])
}

/// A node on which the netns of both pods were scanned.
fn scanned() -> World {
    let mut world = World::new();
    let at = world.now;
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(scan(APP, at, &[])).apply(scan(CURLER, at, &[]));
    world
}

#[test]
fn a_name_that_no_container_declares_is_dangling() {
    let mut world = scanned();
    world.apply(told("file", web())).apply(to_http());
    world.wait(59_000).check(&[]);
    world.wait(2_000).check(DANGLING);
    let finding = world.finding();
    assert_eq!(
        finding.message,
        "Service demo/web sends port 80 to the named port \"http\", which no container of pod demo/multi-port-app declares; \
         no other pod of the Service on this node does either, so nothing is sent there: name the port in the container's \
         ports, or correct the Service's targetPort"
    );
    assert_eq!((finding.protocol, finding.port), (Some(Tcp), None));
    world.apply(service_gone("web")).check(&[]);
    assert_eq!(world.told("dangling-service-port"), [FindingState::Open, FindingState::Resolved]);
}

#[test]
fn the_name_must_be_declared_for_the_protocol_by_a_container_that_counts() {
    let declares = |kind, protocol| web().container("more", kind, &[]).named_port("http", 8080, protocol);
    for (pod, is_missing) in [
        (declares(Regular, Tcp), false),
        (declares(Sidecar, Tcp), false),
        (declares(Init, Tcp).running(true), false),
        (declares(Init, Tcp).running(false), true),
        (declares(Ephemeral, Tcp), true),
        (declares(Regular, Udp), true),
    ] {
        let mut world = scanned();
        world.apply(told("file", pod)).apply(to_http()).wait(61_000);
        let is_named = |line: &String| line == "dangling-service-port";
        let named = world.engine.findings().filter(|finding| finding.message.contains("named port"));
        assert_eq!(named.count(), usize::from(is_missing), "{:?}", world.findings());
        assert!(world.findings().iter().any(is_named), "nothing listens on 8080 either");
    }
    let mut world = scanned();
    world.apply(told("file", declares(Regular, Udp).ready(true))).apply(to_http()).wait(61_000);
    let message =
        world.engine.findings().find(|finding| finding.port.is_none()).expect("dangling").message.clone();
    assert!(message.contains("declares for TCP: it is declared for UDP only"), "{message}");
    world.apply(told("file", declares(Regular, Udp).ready(false))).check(&[]);
}

#[test]
fn a_pod_without_the_name_is_no_mistake_while_another_pod_has_it() {
    let mut world = scanned();
    let has_name = other().container("app", Regular, &[]).named_port("http", 8080, Tcp);
    world.apply(told("file", web())).apply(told("file", has_name)).apply(to_http());
    world.listen(CURLER, 10, 8080).wait(61_000).check(&[]);
    world.close(CURLER, 10).apply(gone("file", "uid-other")).wait(61_000).check(DANGLING);
    let back = other().container("app", Regular, &[]).named_port("http", 8080, Tcp);
    world.apply(told("file", back)).wait(1).check(&[]);
    let lost = other().label("app", "db").container("app", Regular, &[]).named_port("http", 8080, Tcp);
    world.apply(told("file", lost)).wait(61_000);
    assert_eq!(
        world.findings().iter().filter(|line| *line == DANGLING[0]).count(),
        1,
        "{:?}",
        world.findings()
    );
}

#[test]
fn very_many_missing_names_are_bounded_and_counted() {
    let mut world = scanned();
    let all = (1..=1_000).map(|number| sends(service(&format!("s{number}"), "web"), 80, Tcp, named("http")));
    world.apply(told("file", web())).apply(services(all.collect())).wait(61_000);
    assert_eq!(world.findings().len(), 64);
    assert!(world.engine.counts().totals.lost.get("expected-ports-full").is_some_and(|count| *count > 0));
}

#[test]
fn an_opened_socket_that_may_accept_ipv4_is_believed_until_a_scan_tells() {
    let mut world = scanned();
    let at = world.now;
    world.apply(told("file", web().container("more", Regular, &[(8080, Tcp)]).address("10.1.0.2")));
    world.apply(to_8080(&[])).apply(opened(APP, 10, Tcp, 8080, "::", at)).wait(61_000).check(&[]);
}

/// A Service of a load balancer that asks for its health at this port of the node.
fn checked_at(number: u16) -> Service {
    let outside = ExternalAccess { health_check: NonZeroU16::new(number), ..ExternalAccess::default() };
    Service { kind: ServiceKind::LoadBalancer, outside: outside.boxed(), ..service("web", "web") }
}

#[test]
fn a_health_check_port_explains_what_listens_on_it_in_the_nodes_network() {
    let proxy = || pod("kube-proxy").uid("aa-bb").host_network().container("proxy", Regular, &[]);
    let mut world = World::demo();
    world.apply(told("file", proxy())).listen_in(&cgroup("aa-bb", "proxy"), HOST, 11, 31_000).wait(6_000);
    world.check(&["undeclared-host 31000/TCP"]);
    world.apply(services(vec![checked_at(31_000)])).check(&["undeclared-explained 31000/TCP"]);
    let finding = world.finding();
    let why = &finding.declaration.explained_by[0];
    assert_eq!((why.source.as_str(), why.reference.as_str()), ("health-check", "demo/web"));
    assert!(finding.message.contains("load balancers ask it about Service demo/web"), "{}", finding.message);
    world.apply(services(vec![checked_at(31_001)])).check(&["undeclared-host 31000/TCP"]);
    // A pod with its own network, or another protocol, does not serve a health check.
    let mut world = World::demo();
    world.apply(services(vec![checked_at(31_000)])).apply(told("file", web())).listen(APP, 10, 31_000);
    world.wait(6_000).check(&["undeclared-reachable 31000/TCP"]);
}
