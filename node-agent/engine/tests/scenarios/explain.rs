//! Explanations: what each kind of target leads to, in any state of the pods behind it, and within the bounds.

use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol::{self, Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind};
use portolan_engine::read::explain::answer::{
    EndState, EntryPointKind, ExplainError, Explained, MAX_ENDS, MAX_PODS,
};
use portolan_engine::read::explain::target::Target;

use crate::objects::{admits, admitted, for_app, named, number, policies, policy, sends, service, services};
use crate::world::{APP, HOST, PodBuilder, World, cgroup, host, netns, opened, pod, scan, told};

fn web() -> PodBuilder {
    pod("app").uid("aa-bb").at("app").label("app", "web").container("app", Regular, &[(8080, Tcp)])
}

fn node_port(mut service: Service, port: u16) -> Service {
    service.kind = ServiceKind::NodePort;
    service.ports.last_mut().expect("a port").node_port = NonZeroU16::new(port);
    service
}

fn by_node_port() -> Service {
    node_port(sends(service("web", "web"), 80, Tcp, number(8080)), 32_264)
}

/// A node with this pod, whose netns was scanned.
fn world(pod: PodBuilder, told_services: Vec<Service>) -> World {
    let mut world = World::new();
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", pod));
    let at = world.now;
    world.apply(services(told_services)).apply(scan(APP, at, &[])).apply(scan(HOST, at, &[]));
    world
}

fn explain(world: &World, target: &str) -> Explained {
    let target = Target::parse(target, None).expect("a target");
    world.engine.explain(&target).expect("an answer")
}

fn refused(world: &World, target: &str) -> ExplainError {
    let target = Target::parse(target, None).expect("a target");
    world.engine.explain(&target).expect_err("no answer")
}

/// `8080/TCP served` for each end.
fn ends(explained: &Explained) -> Vec<String> {
    let port = |port: Option<NonZeroU16>| port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    explained
        .ends
        .iter()
        .map(|end| format!("{}/{} {}", port(end.port), end.protocol, end.state.as_str()))
        .collect()
}

#[test]
fn a_node_port_leads_to_the_process_in_the_pods_own_netns() {
    let mut world = world(web(), vec![by_node_port()]);
    world.listen(APP, 10, 8080).calls(APP, Tcp, 8080, "10.1.0.3", 3).wait(6_000);
    let explained = explain(&world, ":32264");
    assert_eq!(ends(&explained), ["8080/TCP served"]);
    assert!(
        explained.answer[0]
            .starts_with("netstat on the node does not show port 32264, because no socket has it")
    );
    assert_eq!(
        explained.answer[1],
        "The socket is in the network namespace of pod demo/app: port 8080/TCP, served by python3 (pid 77) in container app."
    );
    let listener = explained.ends[0].listener.as_ref().expect("a listener");
    assert_eq!((listener.traffic.connections, listener.traffic.peers.len()), (3, 1));
    assert!(explained.partial.is_empty() && !explained.truncated);
    let kinds: Vec<EntryPointKind> =
        explained.ends[0].entry_points.iter().map(|entry_point| entry_point.kind).collect();
    assert_eq!(kinds, [EntryPointKind::NodePort, EntryPointKind::ClusterIp, EntryPointKind::PodAddress]);
    assert_eq!(ends(&explain(&world, ":32264/UDP")), [""; 0], "another protocol");
}

#[test]
fn a_service_whose_target_port_nobody_listens_on_is_dangling_and_the_nearest_ports_are_named() {
    let mut world = world(web(), vec![by_node_port()]);
    world.listen(APP, 10, 8081).listen(APP, 11, 9090).wait(90_000);
    let explained = explain(&world, "svc/demo/web");
    assert_eq!(ends(&explained), ["8080/TCP silent"]);
    let near: Vec<u16> = explained.ends[0].nearest.iter().map(|(_, port)| port.get()).collect();
    assert_eq!(near, [8081, 9090]);
    assert_eq!(
        explained.answer[1],
        "Nobody listens on port 8080/TCP of pod demo/app: who calls it is refused."
    );
    let codes: Vec<&str> = explained.ends[0].findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["stale-declaration", "dangling-service-port"]);
}

#[test]
fn the_same_number_of_another_protocol_is_the_nearest() {
    let mut world = world(web(), Vec::new());
    let at = world.now;
    world.apply(opened(APP, 10, Udp, 5353, "0.0.0.0", at)).listen(APP, 11, 5354).wait(6_000);
    let explained = explain(&world, "app:5353/TCP");
    assert_eq!(ends(&explained), ["5353/TCP silent"]);
    assert_eq!(explained.ends[0].nearest[0], (Udp, NonZeroU16::new(5353).expect("a port")));
    assert_eq!(ends(&explain(&world, "app:5353")), ["5353/UDP served"], "the protocol that it has");
}

#[test]
fn a_named_target_port_is_each_pods_own_and_a_wrong_name_leads_nowhere() {
    let by_name = |target: &str| sends(service("web", "web"), 80, Tcp, named(target));
    let mut world = world(web().named_port("admin", 9090, Tcp), vec![by_name("admin")]);
    world.listen(APP, 10, 9090).wait(6_000);
    assert_eq!(ends(&explain(&world, "svc/web:80")), ["9090/TCP served"]);
    world.apply(services(vec![by_name("admni")]));
    let explained = explain(&world, "svc/web");
    assert_eq!(ends(&explained), ["?/TCP unresolved"]);
    assert!(
        explained.answer[1].contains("declares no TCP port of the name \"admni\""),
        "{:?}",
        explained.answer
    );
}

#[test]
fn a_service_without_pods_here_or_without_a_selector_is_a_partial_answer() {
    let mut alien = by_node_port();
    alien.selector.clear();
    let mut local = node_port(sends(service("far", "far"), 80, Tcp, number(80)), 30_080);
    local.outside = ExternalAccess { local_only: true, ..ExternalAccess::default() }.boxed();
    let world = world(web(), vec![alien, local]);
    let explained = explain(&world, ":32264");
    assert!(explained.answer[1].contains("has no selector"), "{:?}", explained.answer);
    assert_eq!(explained.partial.len(), 1);
    let explained = explain(&world, ":30080");
    assert_eq!(
        explained.partial,
        ["no pod of Service demo/far runs on this node, and an agent sees its own node only"]
    );
    assert!(
        explained.notes[0].contains("this node drops what comes to it from outside"),
        "{:?}",
        explained.notes
    );
}

#[test]
fn a_service_without_a_selector_may_send_to_a_pod_and_the_answer_says_so() {
    let mut legacy = sends(service("legacy", "web"), 80, Tcp, number(8080));
    legacy.selector.clear();
    let mut api = legacy.clone();
    (api.namespace, api.name) = ("default".to_owned(), "kubernetes".to_owned());
    let world = world(web(), vec![legacy, api]);
    let notes = explain(&world, "demo/app").notes;
    assert!(notes.iter().any(|note| note.starts_with("Service demo/legacy has no selector")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("default/kubernetes")), "{notes:?}");
    let explained = explain(&world, "svc/demo/legacy");
    assert!(explained.answer[0].contains("has no selector"), "{:?}", explained.answer);
    assert!(!explained.answer.iter().any(|line| line.contains("no pod")), "{:?}", explained.answer);
    assert!(explained.partial[0].contains("does not read EndpointSlices"), "{:?}", explained.partial);
}

#[test]
fn services_that_were_not_told_leave_the_answer_partial() {
    let mut world = world(web(), Vec::new());
    world.apply(Input::Services(Listing::Unavailable)).listen(APP, 10, 8080).wait(6_000);
    for target in [":32264", "svc/web"] {
        assert!(explain(&world, target).partial[0].contains("was not told all Services"), "{target}");
    }
    assert!(explain(&world, "app:8080").partial.is_empty());
}

#[test]
fn a_port_of_the_node_is_not_called_unserved_where_the_nodes_own_sockets_are_not_looked_at() {
    let mut unseen = World::new();
    unseen.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web()));
    let at = unseen.now;
    unseen.apply(services(Vec::new())).apply(scan(APP, at, &[]));
    let explained = explain(&unseen, ":30999");
    assert_eq!(explained.partial, ["the sockets of the node's own network were not looked at"]);
    assert!(explained.next.iter().any(|next| next.contains("--include-host")), "{:?}", explained.next);
    assert!(!explained.answer[0].contains("no socket"), "{:?}", explained.answer);

    let explained = explain(&world(web(), Vec::new()), ":30999");
    assert!(
        explained.partial.is_empty() && explained.answer[0].contains("no socket is seen"),
        "{explained:?}"
    );
}

#[test]
fn a_host_port_is_a_rule_and_a_host_network_port_is_a_socket_of_the_node() {
    let mut world = world(web().host_port(8088), Vec::new());
    world.listen(APP, 10, 8080).wait(6_000);
    let explained = explain(&world, ":8088");
    assert_eq!(ends(&explained), ["8080/TCP served"]);
    assert!(
        explained.answer[0].contains("a hostPort is a NAT rule of the network plugin"),
        "{:?}",
        explained.answer
    );
    world.apply(told(
        "kubernetes",
        pod("exporter").uid("cc-dd").host_network().container("main", Regular, &[]),
    ));
    world.listen_in(&cgroup("cc-dd", "main"), HOST, 20, 9100).listen(HOST, 21, 22).wait(6_000);
    let explained = explain(&world, ":9100");
    assert_eq!(ends(&explained), ["9100/TCP served"]);
    assert!(explained.answer[0].contains("netstat on the node shows it"), "{:?}", explained.answer);
    assert!(
        explained.answer[0].contains("pod demo/exporter, which has no network of its own"),
        "{:?}",
        explained.answer
    );
    let own = explain(&world, ":22");
    assert!(own.ends[0].pod.is_none() && own.answer[0].contains("of the node itself"), "{:?}", own.answer);
}

#[test]
fn a_headless_service_is_dialled_at_the_pods_themselves() {
    let mut headless = sends(service("web", "web"), 80, Tcp, number(8080));
    headless.kind = ServiceKind::Headless;
    let mut world = world(web().address("10.1.0.2"), vec![headless]);
    world.listen(APP, 10, 8080).wait(6_000);
    let entry_points = explain(&world, "svc/demo/web").ends.remove(0).entry_points;
    assert_eq!(entry_points[0].kind, EntryPointKind::Headless);
    assert_eq!(entry_points[0].addresses, ["web.demo.svc"]);
    assert_eq!(entry_points[1].addresses, ["10.1.0.2"]);
}

#[test]
fn a_socket_on_loopback_behind_a_service_is_said() {
    let mut world = world(web(), vec![by_node_port()]);
    let at = world.now;
    world.apply(opened(APP, 10, Tcp, 8080, "127.0.0.1", at)).wait(6_000);
    let explained = explain(&world, ":32264");
    assert!(
        explained.notes.iter().any(|note| note.contains("listens on loopback only")),
        "{:?}",
        explained.notes
    );
}

#[test]
fn who_declares_expects_and_admits_a_port() {
    let mut world = world(web(), vec![by_node_port()]);
    let admitting = admits(for_app(policy("http"), "web"), vec![admitted(Tcp, Some(number(8080)), None)]);
    world
        .apply(policies(vec![policy("deny"), admitting]))
        .listen(APP, 10, 8080)
        .listen(APP, 11, 9090)
        .wait(6_000);
    let explained = explain(&world, "demo/app");
    assert_eq!(ends(&explained), ["8080/TCP served", "9090/TCP served"]);
    let open = &explained.ends[0];
    assert_eq!(open.policy.as_str(), "open");
    let said: Vec<(&str, Option<bool>)> =
        open.policies.iter().map(|one| (one.name.as_str(), one.admits)).collect();
    assert_eq!(said, [("demo/deny", Some(false)), ("demo/http", Some(true))]);
    assert_eq!(open.declaration.declared_by, ["container/app"]);
    let blocked = &explained.ends[1];
    assert_eq!(blocked.policy.as_str(), "blocked");
    assert_eq!(blocked.findings[0].code.as_str(), "undeclared-blocked");
}

#[test]
fn an_opaque_runtime_and_a_netns_that_was_not_seen_are_not_taken_for_silence() {
    let world = world(web().runtime("kata"), vec![by_node_port()]);
    let explained = explain(&world, ":32264");
    assert_eq!(explained.ends[0].state, EndState::Opaque);
    assert!(explained.partial[0].contains("runtime kata"), "{:?}", explained.partial);
    let mut unseen = World::new();
    unseen.apply(told("kubernetes", web())).apply(services(vec![by_node_port()]));
    let explained = explain(&unseen, "app:8080");
    assert_eq!(explained.ends[0].state, EndState::Unseen);
    assert!(explained.partial[0].contains("was not found (yet)"), "{:?}", explained.partial);
}

#[test]
fn a_pod_that_is_not_ready_gets_nothing_from_its_services() {
    let world = world(web().ready(false), vec![by_node_port()]);
    let explained = explain(&world, ":32264");
    assert!(explained.notes.iter().any(|note| note.contains("is not ready")), "{:?}", explained.notes);
}

#[test]
fn a_name_in_several_namespaces_is_not_guessed() {
    let mut world = world(web(), vec![by_node_port()]);
    let mut twin: portolan_engine::model::pod::Pod = pod("app").uid("cc-dd").into();
    twin.namespace = "other".to_owned();
    world.apply(told("kubernetes", twin));
    let expected = "2 pods are called app: say which, as one of demo/app, other/app";
    assert_eq!(refused(&world, "app").to_string(), expected);
    assert_eq!(explain(&world, "other/app").pods[0].pod.namespace, "other");
    assert!(refused(&world, "demo/web").to_string().ends_with("there is svc/demo/web"));
}

#[test]
fn thousands_of_ports_and_hundreds_of_pods_are_cut_and_that_is_said() {
    let mut crowded = world(web(), vec![by_node_port()]);
    let sockets: Vec<(u64, Protocol, u16)> = (1..=3_000).map(|port| (u64::from(port), Tcp, port)).collect();
    let at = crowded.now;
    crowded.apply(scan(APP, at, &sockets)).wait(6_000);
    let explained = explain(&crowded, "demo/app");
    assert!(explained.truncated && explained.ends.len() == MAX_ENDS);
    assert!(
        explained.ends.iter().any(|end| end.port == NonZeroU16::new(8080)),
        "what is declared comes first"
    );
    assert_eq!(explained.pods[0].listening, 3_000);
    assert_eq!(explain(&crowded, "demo/app:5000").ends[0].nearest.len(), 8);

    let mut many = world(web(), vec![by_node_port()]);
    for index in 0..300 {
        let name = format!("app-{index}");
        many.apply(told(
            "kubernetes",
            pod(&name).label("app", "web").container("app", Regular, &[(8080, Tcp)]),
        ));
    }
    let explained = explain(&many, "svc/demo/web");
    assert!(explained.truncated && explained.services[0].pods_here == 301);
    assert_eq!(explained.ends.len(), MAX_PODS);
}

#[test]
fn a_deleted_pod_is_not_explained() {
    let mut world = world(web(), vec![by_node_port()]);
    world.listen(APP, 10, 8080).apply(crate::world::gone("kubernetes", "aa-bb"));
    assert!(matches!(refused(&world, "demo/app"), ExplainError::NoPod { .. }));
    assert_eq!(explain(&world, ":32264").services[0].pods_here, 0);
}
