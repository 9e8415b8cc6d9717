//! Ports that are explained but not declared, and near misses that explain nothing.

use portolan_engine::model::identity::Protocol::{Sctp, Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::{DeclarationStatus, Explanation};
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind::{Init, Regular, Sidecar};
use portolan_engine::model::pod::ProbeHandler;
use portolan_engine::model::service::{Service, ServiceKind};

use crate::objects::{
    admits, admitted, named, number, policies, policy, sends, service, service_changed, service_gone,
    services,
};
use crate::world::{APP, PodBuilder, World, cgroup, netns, opened, pod, process, told};

fn web() -> PodBuilder {
    pod("app").uid("aa-bb").at("app").label("app", "web").container("app", Regular, &[(8080, Tcp)])
}

/// The explanations of TCP 9090 of this pod.
fn explained(pod: PodBuilder, objects: Vec<Input>) -> Vec<String> {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", pod));
    for object in objects {
        world.apply(object);
    }
    world.listen(APP, 10, 9090).wait(6_000);
    let declaration = world.listener().declaration.clone();
    let is_explained = declaration.status == DeclarationStatus::Explained;
    assert_eq!(is_explained, !declaration.explained_by.is_empty(), "{declaration:?}");
    let text = |why: &Explanation| format!("{} {}", why.source, why.reference);
    declaration.explained_by.iter().map(text).collect()
}

fn by_service(service: Service) -> Vec<String> {
    explained(web(), vec![services(vec![service])])
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_probe_by_number_and_every_kind_of_it() {
    let all = [
        (ProbeHandler::Liveness, "probe container/app/livenessProbe"),
        (ProbeHandler::Readiness, "probe container/app/readinessProbe"),
        (ProbeHandler::Startup, "probe container/app/startupProbe"),
        (ProbeHandler::PostStart, "lifecycle container/app/postStart"),
        (ProbeHandler::PreStop, "lifecycle container/app/preStop"),
    ];
    for (handler, expected) in all {
        assert_eq!(explained(web().probe(handler, number(9090)), Vec::new()), [expected]);
        assert_eq!(explained(web().probe(handler, number(9091)), Vec::new()), NOTHING);
    }
}

#[test]
fn a_probe_by_name_means_the_containers_own_port_of_that_name() {
    // Kubelet resolves the name without the protocol, so it calls TCP where UDP is declared.
    let named_udp = web().named_port("admin", 9090, Udp).probe(ProbeHandler::Liveness, named("admin"));
    assert_eq!(explained(named_udp, Vec::new()), ["probe container/app/livenessProbe"]);
    let wrong = web().named_port("admin", 9090, Udp).probe(ProbeHandler::Liveness, named("admni"));
    assert_eq!(explained(wrong, Vec::new()), NOTHING);
    let other = web().probe(ProbeHandler::Liveness, named("admin"));
    let other = other.container("other", Regular, &[]).named_port("admin", 9090, Udp);
    assert_eq!(explained(other, Vec::new()), NOTHING, "the name of another container");
}

#[test]
fn a_probe_is_tcp() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24"));
    world.apply(told("kubernetes", web().probe(ProbeHandler::Liveness, number(9090))));
    let at = world.now;
    world.apply(opened(APP, 10, Udp, 9090, "0.0.0.0", at)).wait(6_000);
    world.check(&["undeclared-reachable 9090/UDP"]);
}

#[test]
fn a_service_by_number_with_the_matching_protocol() {
    assert_eq!(by_service(sends(service("web", "web"), 80, Tcp, number(9090))), ["service demo/web:80"]);
    assert_eq!(by_service(sends(service("web", "web"), 80, Udp, number(9090))), NOTHING);
    assert_eq!(by_service(sends(service("web", "web"), 80, Sctp, number(9090))), NOTHING);
}

#[test]
fn a_service_without_target_port_sends_to_its_port() {
    // As every source reports it: the target equals the port.
    assert_eq!(by_service(sends(service("web", "web"), 9090, Tcp, number(9090))), ["service demo/web:9090"]);
}

#[test]
fn a_service_by_name_means_a_declared_port_so_that_a_wrong_name_explains_nothing() {
    let mut world = World::new();
    let declared = web().named_port("admin", 9090, Tcp);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", declared));
    let by_name = |target: &str, protocol| sends(service("web", "web"), 80, protocol, named(target));
    world.apply(services(vec![by_name("admin", Tcp)])).listen(APP, 10, 9090).wait(6_000).check(&[]);
    let listener = world.listener();
    assert_eq!(listener.declaration.explained_by[0].reference, "demo/web:80");
    assert_eq!(by_service(by_name("admin", Tcp)), NOTHING, "no container has the name");
    let udp = explained(web().named_port("admin", 9090, Udp), vec![services(vec![by_name("admin", Tcp)])]);
    assert_eq!(udp, NOTHING, "the name is of another protocol");
}

#[test]
fn two_services_are_both_said() {
    let first = sends(service("one", "web"), 80, Tcp, number(9090));
    let second = sends(sends(service("two", "web"), 81, Tcp, number(9090)), 82, Tcp, number(8080));
    let both = explained(web(), vec![services(vec![second, first])]);
    assert_eq!(both, ["service demo/one:80", "service demo/two:81"]);
}

#[test]
fn a_service_that_selects_other_pods_nothing_or_elsewhere_explains_nothing() {
    let all = |change: fn(&mut Service)| {
        let mut service = sends(service("web", "web"), 80, Tcp, number(9090));
        change(&mut service);
        by_service(service)
    };
    assert_eq!(all(|_| {}), ["service demo/web:80"]);
    assert_eq!(all(|service| service.namespace = "other".to_owned()), NOTHING);
    assert_eq!(all(|service| service.selector.clear()), NOTHING);
    assert_eq!(all(|service| service.kind = ServiceKind::ExternalName), NOTHING);
    assert_eq!(
        all(|service| {
            service.selector.insert("tier".to_owned(), "db".to_owned());
        }),
        NOTHING
    );
}

#[test]
fn a_service_and_labels_that_change_take_their_explanation_along() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web()));
    world.listen(APP, 10, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    world.apply(service_changed(sends(service("web", "web"), 80, Tcp, number(9090))));
    world.check(&["undeclared-explained 9090/TCP"]);
    world.apply(service_changed(sends(service("web", "web"), 80, Tcp, number(9091))));
    world.check(&["undeclared-reachable 9090/TCP"]);
    world.apply(service_changed(sends(service("web", "web"), 80, Tcp, number(9090))));
    world.apply(told("kubernetes", web().label("app", "other"))).check(&["undeclared-reachable 9090/TCP"]);
    world.apply(told("kubernetes", web())).check(&["undeclared-explained 9090/TCP"]);
    world.apply(service_gone("web")).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn the_prometheus_annotation_unless_scraping_is_off() {
    let annotated = || web().annotation("prometheus.io/port", "9090");
    assert_eq!(explained(annotated(), Vec::new()), ["annotation prometheus.io/port"]);
    assert_eq!(explained(annotated().annotation("prometheus.io/scrape", "false"), Vec::new()), NOTHING);
    for bad in ["", "0", "909090", "-1", "http", "9090x"] {
        assert_eq!(explained(web().annotation("prometheus.io/port", bad), Vec::new()), NOTHING, "{bad}");
    }
}

#[test]
fn a_mesh_port_only_in_the_meshs_own_container() {
    let meshed = |mesh: &str| {
        let pod = pod("app").uid("aa-bb").at("app").container("app", Regular, &[(8080, Tcp)]);
        pod.container(mesh, Sidecar, &[])
    };
    let serve = |mesh: &str, container: &str, port: u16| {
        let mut world = World::new();
        world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", meshed(mesh)));
        world.listen_in(&cgroup("aa-bb", container), APP, 10, port).wait(6_000);
        world.findings()
    };
    assert_eq!(serve("istio-proxy", "istio-proxy", 15_006), ["undeclared-explained 15006/TCP"]);
    assert_eq!(serve("istio-proxy", "istio-proxy", 9090), ["undeclared-reachable 9090/TCP"]);
    assert_eq!(serve("istio-proxy", "app", 15_006), ["undeclared-reachable 15006/TCP"], "another container");
    assert_eq!(serve("linkerd-proxy", "linkerd-proxy", 4143), ["undeclared-explained 4143/TCP"]);
    assert_eq!(serve("linkerd-proxy", "linkerd-proxy", 15_006), ["undeclared-reachable 15006/TCP"]);
    let validator = "linkerd-network-validator";
    assert_eq!(serve(validator, validator, 4140), ["undeclared-explained 4140/TCP"]);
    assert_eq!(serve(validator, validator, 4143), ["undeclared-reachable 4143/TCP"], "not the validator's");
    assert_eq!(serve("proxy", "proxy", 15_006), ["undeclared-reachable 15006/TCP"], "another name");
}

#[test]
fn a_process_that_calls_itself_like_a_mesh_proxy_explains_nothing() {
    let mut world = World::new();
    let pod = web().container("istio-proxy", Sidecar, &[]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", pod));
    let mut liar = opened(APP, 10, Tcp, 15_006, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut liar {
        socket.process = Some(process("istio-proxy", Some(&cgroup("aa-bb", "app"))));
    }
    let mut unknown = opened(APP, 11, Tcp, 15_001, "0.0.0.0", world.now);
    if let Input::SocketOpened(socket) = &mut unknown {
        socket.process = Some(process("envoy", None));
    }
    world.apply(liar).apply(unknown).wait(6_000);
    world.check(&["undeclared-reachable 15001/TCP", "undeclared-reachable 15006/TCP"]);
}

#[test]
fn a_socket_beside_the_meshs_own_is_not_the_meshs() {
    let mut world = World::new();
    let pod = web().container("istio-proxy", Sidecar, &[]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", pod));
    let mut admin = opened(APP, 10, Tcp, 15_000, "127.0.0.1", world.now);
    if let Input::SocketOpened(socket) = &mut admin {
        socket.process = Some(process("envoy", Some(&cgroup("aa-bb", "istio-proxy"))));
    }
    world.apply(admin.clone()).wait(6_000).check(&["undeclared-loopback 15000/TCP"]);
    let mut beside = opened(APP, 11, Tcp, 15_000, "10.1.0.2", world.now);
    if let Input::SocketOpened(socket) = &mut beside {
        socket.process = Some(process("envoy", Some(&cgroup("aa-bb", "app"))));
    }
    world.apply(beside).check(&["undeclared-reachable 15000/TCP"]);
    // Nor for a port of an unknown pod.
    let mut unknown = opened(APP, 12, Tcp, 15_000, "10.1.0.2", world.now);
    if let Input::SocketOpened(socket) = &mut unknown {
        socket.process = None;
    }
    world.apply(unknown).close(APP, 11).check(&["undeclared-reachable 15000/TCP"]);
    world.close(APP, 12).check(&["undeclared-loopback 15000/TCP"]);
    assert_eq!(world.listener().declaration.status, DeclarationStatus::Explained);
}

#[test]
fn a_policy_that_writes_the_port_down() {
    let by = |ports| explained(web(), vec![policies(vec![admits(policy("web"), ports)])]);
    assert_eq!(by(vec![admitted(Tcp, Some(number(9090)), None)]), ["network-policy demo/web"]);
    assert_eq!(by(vec![admitted(Tcp, Some(number(9000)), Some(9100))]), ["network-policy demo/web"]);
    assert_eq!(by(vec![admitted(Tcp, Some(number(9000)), Some(9089))]), NOTHING);
    assert_eq!(by(vec![admitted(Tcp, Some(number(9100)), Some(9000))]), NOTHING, "a range that is none");
    assert_eq!(by(vec![admitted(Udp, Some(number(9090)), None)]), NOTHING);
    assert_eq!(by(vec![admitted(Tcp, Some(number(9000)), Some(10_023))]), ["network-policy demo/web"]);
    assert_eq!(by(vec![admitted(Tcp, None, None)]), NOTHING, "every port says nothing of this one");
    for (first, last) in [(9000, 10_024), (1, 65_535)] {
        let nearly_all = admitted(Tcp, Some(number(first)), Some(last));
        assert_eq!(by(vec![nearly_all]), NOTHING, "nor does a range that is about every port");
    }
    assert_eq!(by(Vec::new()), NOTHING);
    assert_eq!(by(vec![admitted(Tcp, Some(named("admin")), None)]), NOTHING, "a name that nobody declares");
}

#[test]
fn an_init_container_declares_only_while_it_runs() {
    let mut world = World::new();
    let pod = |running| web().container("setup", Init, &[(9090, Tcp)]).running(running);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", pod(true)));
    world.listen(APP, 10, 9090).wait(6_000).check(&[]);
    world.apply(told("kubernetes", pod(false))).check(&["undeclared-reachable 9090/TCP"]);
}

#[test]
fn what_is_forbidden_explains_nothing_and_changes_nothing_else() {
    let nothing = vec![
        Input::Services(Listing::Unavailable),
        Input::NetworkPolicies(Listing::Unavailable),
        Input::Namespaces(Listing::Unavailable),
    ];
    assert_eq!(explained(web(), nothing), NOTHING);
}
