//! The verdict table of docs/findings.md, row by row; each test is named after its row.

use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::Protocol::Tcp;
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::DeclarationStatus;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Init, Regular};
use portolan_engine::model::pod::ProbeHandler;
use portolan_engine::model::policy::PolicyVerdict;
use portolan_engine::model::service::Service;

use crate::objects::{admits, admitted, number, policies, policy, sends, service, services};
use crate::world::{APP, HOST, World, app, cgroup, host, netns, opened, pod, pods, scan, told};

const CALLER: &str = "10.1.0.3";
const OUTSIDE: &str = "203.0.113.9";

/// The demo with a labelled pod and an undeclared port.
fn listening() -> World {
    let mut world = World::demo();
    world.apply(told("file", labelled())).listen(APP, 10, 9090).listen(APP, 11, 8080).wait(6_000);
    world
}

fn labelled() -> crate::world::PodBuilder {
    pod("multi-port-app").at("app").label("app", "web").container("app", Regular, &[(8080, Tcp)])
}

#[test]
fn undeclared_external_by_a_connection_from_outside_the_cluster() {
    let mut world = listening();
    world.calls(APP, Tcp, 9090, OUTSIDE, 1).wait(3_100).check(&["undeclared-external 9090/TCP"]);
    assert_eq!(world.finding().code.severity(), Severity::Critical);
}

#[test]
fn undeclared_external_through_a_host_network_pod() {
    let mut world = World::demo();
    world.apply(told("cri", pod("proxy").uid("aa-bb").host_network().container("proxy", Regular, &[])));
    world.listen_in(&cgroup("aa-bb", "proxy"), HOST, 10, 9100).wait(6_000);
    world.check(&["undeclared-host 9100/TCP"]);
    world.calls(HOST, Tcp, 9100, CALLER, 2).check(&["undeclared-external 9100/TCP"]);
    let message = world.finding().message.clone();
    assert!(
        message.contains("demo/curler (10.1.0.3) connected 2 times through the node's own address"),
        "{message}"
    );
}

#[test]
fn undeclared_external_through_a_host_port() {
    let mut world = World::new();
    let app = pod("app").at("app").container("app", Regular, &[]);
    let setup = app.container("setup", Init, &[(9090, Tcp)]).host_port(9090).running(false);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", setup));
    world.listen(APP, 10, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    // An unnamed caller may still get a name until the hold is over.
    world.calls(APP, Tcp, 9090, CALLER, 1).wait(3_000).check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn undeclared_active_by_a_connection_from_another_pod() {
    let mut world = listening();
    world.calls(APP, Tcp, 9090, CALLER, 1).check(&["undeclared-active 9090/TCP"]);
    assert_eq!(world.finding().code.severity(), Severity::High);
}

#[test]
fn undeclared_host_in_a_host_network_pod_and_not_on_loopback() {
    let mut world = World::new();
    world.apply(host());
    world.apply(told("cri", pod("proxy").uid("aa-bb").host_network().container("proxy", Regular, &[])));
    let group = cgroup("aa-bb", "proxy");
    world.listen_in(&group, HOST, 10, 9100);
    let mut local = opened(HOST, 11, Tcp, 9101, "127.0.0.1", world.now);
    if let Input::SocketOpened(socket) = &mut local {
        socket.process = Some(crate::world::process("proxy", Some(&group)));
    }
    world.apply(local).wait(6_000).check(&["undeclared-host 9100/TCP", "undeclared-loopback 9101/TCP"]);
}

#[test]
fn undeclared_reachable_until_more_than_the_node_has_reached_it() {
    let mut world = listening();
    world.calls(APP, Tcp, 9090, "10.1.0.1", 5).wait(5_000).check(&["undeclared-reachable 9090/TCP"]);
    assert_eq!(world.finding().code.severity(), Severity::Medium);
}

#[test]
fn ephemeral_container_also_where_another_container_declares_the_port() {
    let mut world = World::new();
    let app = pod("app").uid("aa-bb").at("app").container("app", Regular, &[(8080, Tcp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    world.apply(told("kubernetes", app.container("debugger", Ephemeral, &[])));
    let debugger = cgroup("aa-bb", "debugger");
    world.listen_in(&debugger, APP, 10, 8000).listen_in(&debugger, APP, 11, 8080).wait(6_000);
    world.check(&["ephemeral-container 8000/TCP", "ephemeral-container 8080/TCP"]);
}

#[test]
fn ephemeral_container_also_where_it_joins_the_port_of_another() {
    let mut world = World::new();
    let app = pod("app").uid("aa-bb").at("app").container("app", Regular, &[(8080, Tcp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    world.apply(told("kubernetes", app.container("debugger", Ephemeral, &[])));
    world.listen_in(&cgroup("aa-bb", "app"), APP, 10, 8080).wait(6_000).check(&[]);
    world.listen_in(&cgroup("aa-bb", "debugger"), APP, 11, 8080).wait(6_000);
    world.check(&["ephemeral-container 8080/TCP"]);
    world.close(APP, 11).check(&[]);
}

#[test]
fn undeclared_host_where_a_process_of_the_node_was_there_first() {
    let mut world = World::new();
    world.apply(host());
    world.apply(told("cri", pod("proxy").uid("aa-bb").host_network().container("proxy", Regular, &[])));
    world.apply(opened(HOST, 10, Tcp, 9100, "127.0.0.1", world.now));
    world.listen_in(&cgroup("aa-bb", "proxy"), HOST, 11, 9100).wait(6_000);
    world.check(&["undeclared-host 9100/TCP"]);
}

#[test]
fn port_storm_stands_for_more_undeclared_ports_than_the_cap() {
    let mut world = World::demo();
    for port in 1..=65 {
        world.listen(APP, u64::from(port), 10_000 + port);
    }
    world.wait(6_000).check(&["port-storm"]);
    assert_eq!(world.finding().code.severity(), Severity::High);
}

#[test]
fn undeclared_blocked_where_the_pod_is_isolated_and_no_rule_admits_the_port() {
    let mut world = listening();
    world.apply(policies(vec![admits(policy("web"), vec![admitted(Tcp, Some(number(8080)), None)])]));
    world.check(&["undeclared-blocked 9090/TCP"]);
    let finding = world.finding();
    assert_eq!(finding.policy.verdict, PolicyVerdict::Blocked);
    assert_eq!(finding.policy.policies, ["demo/web"]);
    assert_eq!(finding.code.severity(), Severity::Low);
    assert_eq!(
        finding.message,
        "port 9090/TCP is served by python3 but not declared by pod demo/multi-port-app; NetworkPolicy demo/web keeps \
         everybody out: close it, or declare it and admit it if it is meant to be called"
    );
}

#[test]
fn a_connection_that_policy_should_have_blocked_beats_the_policy_and_is_said() {
    let mut world = listening();
    world.apply(policies(vec![policy("deny")])).calls(APP, Tcp, 9090, CALLER, 1);
    world.check(&["undeclared-active 9090/TCP"]);
    let message = world.finding().message.clone();
    assert!(message.contains("policy says blocked, connection seen"), "{message}");
    assert!(message.contains("NetworkPolicy demo/deny"), "{message}");
}

#[test]
fn undeclared_explained_while_only_expected_callers_call() {
    let mut world = listening();
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))]));
    world.check(&["undeclared-explained 9090/TCP"]);
    world.calls(APP, Tcp, 9090, CALLER, 1).wait(3_100);
    world.check(&["undeclared-explained 9090/TCP"]);
    let finding = world.finding();
    assert_eq!(finding.declaration.status, DeclarationStatus::Explained);
    assert_eq!(finding.code.severity(), Severity::Low);
    assert_eq!(
        finding.message,
        "port 9090/TCP is served by python3 but not declared by pod demo/multi-port-app; Service demo/web:80 sends \
         traffic to it: add it to containerPort (portolan declare writes the patch)"
    );
    world.calls(APP, Tcp, 9090, OUTSIDE, 1).wait(3_100);
    world.check(&["undeclared-external 9090/TCP"]);
}

#[test]
fn dangling_service_port_where_nobody_listens_after_the_stale_grace() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(told("file", labelled())).listen(APP, 11, 8080);
    world.apply(scan(APP, at, &[(11, Tcp, 8080)]));
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))]));
    world.wait(59_000).check(&[]);
    world.wait(2_000).check(&["dangling-service-port"]);
    let finding = world.finding();
    assert_eq!(finding.code.severity(), Severity::Low);
    assert!(
        finding.message.starts_with("Service web sends traffic to port 9090/TCP of pod demo/multi-port-app")
    );
    world.listen(APP, 12, 9090).wait(6_000).check(&["undeclared-explained 9090/TCP"]);
}

#[test]
fn dangling_service_port_ends_with_its_service() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(told("file", labelled())).apply(scan(APP, at, &[(11, Tcp, 8080)]));
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))])).wait(61_000);
    world.check(&["dangling-service-port"]);
    world.apply(Input::Services(Listing::Unavailable)).check(&[]);
}

#[test]
fn undeclared_loopback_also_where_something_explains_the_port() {
    let mut world = World::demo();
    let probed = labelled().probe(ProbeHandler::Liveness, number(6000));
    let at = world.now;
    world.apply(told("file", probed)).apply(opened(APP, 10, Tcp, 6000, "127.0.0.1", at)).wait(6_000);
    world.check(&["undeclared-loopback 6000/TCP"]);
    assert_eq!(world.finding().declaration.status, DeclarationStatus::Explained);
}

#[test]
fn stale_declaration_only_with_all_containers_ready() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(told("file", labelled().ready(false))).apply(scan(APP, at, &[]));
    world.wait(120_000).check(&[]);
    world.apply(told("file", labelled().ready(true))).wait(59_000).check(&[]);
    world.wait(2_000).check(&["stale-declaration"]);
    world.apply(told("file", labelled().ready(false))).check(&[]);
}

#[test]
fn a_pod_that_is_being_deleted_is_neither_stale_nor_dangling() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9999))]));
    world.apply(told("file", labelled())).apply(scan(APP, at, &[])).wait(61_000);
    world.check(&["dangling-service-port", "stale-declaration"]);
    world.apply(told("file", labelled().draining())).check(&[]);
}

#[test]
fn a_closed_readiness_gate_keeps_services_away_unless_they_publish_what_is_not_ready() {
    for publishes_not_ready in [false, true] {
        let mut world = World::demo();
        let at = world.now;
        let web = Service { publishes_not_ready, ..sends(service("web", "web"), 80, Tcp, number(9999)) };
        world.apply(services(vec![web])).apply(told("file", labelled().ready(true).service_ready(false)));
        world.apply(scan(APP, at, &[])).wait(61_000);
        let both = ["dangling-service-port", "stale-declaration"];
        world.check(if publishes_not_ready { &both } else { &both[1..] });
        world.apply(told("file", labelled().ready(true).service_ready(true))).wait(61_000).check(&both);
        world.apply(told("file", labelled().ready(true).service_ready(false)));
        world.check(if publishes_not_ready { &both } else { &both[1..] });
    }
}

#[test]
fn stale_declaration_not_of_a_container_that_does_not_run() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(told("file", labelled().running(false))).apply(scan(APP, at, &[]));
    world.wait(120_000).check(&[]);
}

#[test]
fn unattributed_is_never_a_pass() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090).wait(10_000);
    world.check(&["unattributed 9090/TCP"]);
    assert_eq!(world.finding().policy.verdict, PolicyVerdict::Unknown);
}

#[test]
fn opaque_runtime_instead_of_no_listeners() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(told("file", labelled().runtime("kata-qemu"))).apply(scan(APP, at, &[])).wait(120_000);
    world.check(&["opaque-runtime"]);
    let finding = world.finding();
    assert_eq!(finding.declaration.status, DeclarationStatus::Unknown);
    assert!(finding.message.contains("kata-qemu"), "{}", finding.message);
    world.apply(pods(Vec::new())).check(&[]);
}

#[test]
fn a_new_declaration_a_closed_socket_and_a_deleted_pod_resolve() {
    for end in 0..3 {
        let mut world = listening();
        world.check(&["undeclared-reachable 9090/TCP"]);
        match end {
            0 => world.apply(told("file", labelled().named_port("http", 9090, Tcp))),
            1 => world.close(APP, 10),
            _ => world.apply(pods(Vec::new())),
        };
        world.check(&[]);
    }
}

#[test]
fn the_severities_are_those_of_the_table() {
    let table = [
        ("undeclared-external", "critical"),
        ("undeclared-active", "high"),
        ("undeclared-host", "high"),
        ("undeclared-reachable", "medium"),
        ("ephemeral-container", "medium"),
        ("port-storm", "high"),
        ("undeclared-blocked", "low"),
        ("undeclared-explained", "low"),
        ("dangling-service-port", "low"),
        ("undeclared-loopback", "info"),
        ("stale-declaration", "info"),
        ("unattributed", "info"),
        ("opaque-runtime", "info"),
    ];
    assert_eq!(FindingCode::ALL.map(|code| (code.as_str(), code.severity().as_str())), table);
}

#[test]
fn the_pod_itself_is_found_again_by_its_name() {
    let world = listening();
    assert_eq!(world.engine.pod("demo", "multi-port-app").expect("the pod").labels.len(), 1);
    assert_ne!(*world.engine.pod("demo", "multi-port-app").expect("the pod"), app());
}
