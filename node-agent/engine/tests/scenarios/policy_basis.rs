//! What drafts are made of: names that Services give a port or look for in vain, and pods with a storm of ports.

use std::collections::BTreeSet;

use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{BasisPod, PolicySubject, PolicyTarget};

use crate::objects::{named, number, sends, service, services};
use crate::world::{APP, PodBuilder, World, netns, opened, pod, told};

/// A pod that declares 8080 as `http`, and that Services of `app: web` select.
fn web() -> PodBuilder {
    pod("app").at("app").label("app", "web").container("app", Regular, &[]).named_port("http", 8080, Tcp)
}

fn world(options: EngineOptions) -> World {
    let mut world = World::with(options);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web()));
    world
}

fn basis(world: &World) -> BasisPod {
    let target = PolicyTarget { namespace: None, subject: PolicySubject::Pod("app".to_owned()) };
    let mut basis = world.engine.policy_basis(&target);
    assert_eq!(basis.pods.len(), 1, "{basis:?}");
    basis.pods.remove(0)
}

/// Names that Services give a port.
fn names_of(pod: &BasisPod, number: u16) -> BTreeSet<&str> {
    let port = pod.ports.iter().find(|port| port.port.get() == number);
    port.iter().flat_map(|port| &port.service_port_names).map(String::as_str).collect()
}

#[test]
fn a_port_has_the_names_of_all_services_that_send_to_it_with_its_protocol() {
    let mut world = world(EngineOptions::default());
    world.listen(APP, 10, 9090);
    let called = |name: &str, port: u16, protocol, target, port_name: &str| {
        let mut service = sends(service(name, "web"), port, protocol, target);
        if let Some(last) = service.ports.last_mut() {
            last.name = Some(port_name.to_owned());
        }
        service
    };
    world.apply(services(vec![
        called("a", 80, Tcp, number(9090), "api"),
        called("b", 81, Tcp, number(9090), "admin"),
        called("c", 82, Udp, number(9090), "datagrams"),
        called("d", 83, Tcp, named("http"), "front"),
    ]));
    let pod = basis(&world);
    assert_eq!(names_of(&pod, 9090), BTreeSet::from(["admin", "api"]));
    assert_eq!(names_of(&pod, 8080), BTreeSet::from(["front"]));
    world.apply(services(Vec::new()));
    assert_eq!(names_of(&basis(&world), 9090), BTreeSet::new());
}

#[test]
fn a_name_that_a_service_looks_for_in_vain_is_missing_until_the_pod_declares_it() {
    let mut world = world(EngineOptions::default());
    let wants = |name: &str, target| sends(service(name, "web"), 80, Tcp, target);
    world.apply(services(vec![
        wants("a", named("http")),
        wants("b", named("metrics")),
        wants("c", named("htpp")),
        wants("d", number(7000)),
    ]));
    assert_eq!(basis(&world).missing_names, BTreeSet::from(["htpp".to_owned(), "metrics".to_owned()]));
    world.apply(told("kubernetes", web().named_port("metrics", 9090, Tcp)));
    assert_eq!(basis(&world).missing_names, BTreeSet::from(["htpp".to_owned()]));
}

#[test]
fn a_pod_has_a_storm_while_one_finding_stands_for_its_ports() {
    let mut world = world(EngineOptions { storm_ports: 4, ..EngineOptions::default() });
    for port in 0..3 {
        world.listen(APP, 100 + u64::from(port), 9_000 + port);
    }
    world.wait(6_000);
    assert!(!basis(&world).storm, "three ports are no storm: {:?}", world.findings());
    for port in 3..6 {
        world.listen(APP, 100 + u64::from(port), 9_000 + port);
    }
    world.wait(6_000);
    let pod = basis(&world);
    assert!(pod.storm, "{:?}", world.findings());
    assert_eq!(pod.ports.len(), 7, "the ports stay in the basis, and the declared one is there too");
}

#[test]
fn many_quiet_ports_are_no_storm() {
    let mut world = world(EngineOptions { storm_ports: 4, ..EngineOptions::default() });
    for port in 0..100 {
        let at = world.now;
        world.apply(opened(APP, 100 + u64::from(port), Tcp, 9_000 + port, "127.0.0.1", at));
    }
    world.listen(APP, 10, 7000).wait(6_000);
    world.check(&["undeclared-loopback", "undeclared-reachable 7000/TCP"]);
    assert!(!basis(&world).storm);
}

#[test]
fn declare_is_advised_for_the_ports_that_it_declares_and_not_for_those_of_a_storm() {
    let mut world = world(EngineOptions { storm_ports: 4, ..EngineOptions::default() });
    world.listen(APP, 10, 7000).wait(6_000);
    let advice = |world: &World| {
        let target = Target::parse("demo/app:7000", None).expect("a target");
        world.engine.explain(&target).expect("an answer").next.join("; ")
    };
    assert!(advice(&world).contains("portolan declare --all writes the patch"), "{}", advice(&world));
    for port in 0..6 {
        world.listen(APP, 100 + u64::from(port), 9_000 + port);
    }
    world.wait(6_000).check(&["port-storm"]);
    assert!(advice(&world).starts_with("declare it in containerPort or close it"), "{}", advice(&world));
    // What something expects is declared also in a storm.
    world.apply(services(vec![sends(service("a", "web"), 80, Tcp, number(7000))])).wait(6_000);
    assert!(advice(&world).contains("portolan declare writes the patch"), "{}", advice(&world));
}
