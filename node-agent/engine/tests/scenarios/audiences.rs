//! An explanation has an audience: callers within it leave the port explained, a caller beyond it makes the port what an
//! undeclared one would be. Each case is tried with the explanation before and after the call.

use std::collections::BTreeMap;

use portolan_engine::model::change::Change;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::Audience;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::{LabelSelector, NetworkPolicy, PolicyPeer};
use portolan_engine::model::options::{EngineOptions, RecordMode};
use portolan_engine::model::pod::ContainerKind::{Regular, Sidecar};
use portolan_engine::model::pod::{Pod, ProbeHandler};
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind};

use crate::objects::{
    admits, admits_from, admitted, block, labelled, named, number, pods_with, policies, policy, sends,
    service, service_changed, service_gone, services,
};
use crate::world::{
    APP, CURLER, HOST, PodBuilder, World, call, cgroup, drained, gone, host, ip, netns, opened_in, peer, pod,
    told,
};

const CURLERS: &str = "10.1.0.3";
/// A pod's address that no source knows.
const STRANGER: &str = "10.1.0.77";
const NODE: &str = "192.0.2.10";
const OUTSIDER: &str = "203.0.113.9";

const EXPLAINED: &str = "undeclared-explained 9090/TCP";
const ACTIVE: &str = "undeclared-active 9090/TCP";
const EXTERNAL: &str = "undeclared-external 9090/TCP";

fn web() -> PodBuilder {
    pod("app").uid("aa-bb").at("app").label("app", "web").container("app", Regular, &[(8080, Tcp)])
}

fn curler() -> PodBuilder {
    pod("curler").uid("cc-dd").at("curler").address(CURLERS).label("role", "client").label("tier", "a")
}

fn world_with(options: EngineOptions) -> World {
    let mut world = World::with(options);
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(told("kubernetes", curler()));
    world
}

/// What is said of TCP 9090 of this pod after these callers called, whether its explanation is known before or after.
fn called(pod: impl Into<Pod>, objects: &[Input], callers: &[&str]) -> Vec<String> {
    let pod: Pod = pod.into();
    let mut before = world_with(EngineOptions::default());
    before.apply(told("kubernetes", pod.clone()));
    for object in objects {
        before.apply(object.clone());
    }
    before.listen(APP, 10, 9090).wait(6_000);
    for caller in callers {
        before.calls(APP, Tcp, 9090, caller, 1);
    }
    before.wait(10_000);
    let mut after = world_with(EngineOptions::default());
    after.apply(told("cri", web())).listen(APP, 10, 9090).wait(6_000);
    for caller in callers {
        after.calls(APP, Tcp, 9090, caller, 1);
    }
    after.wait(10_000);
    for object in objects {
        after.apply(object.clone());
    }
    after.apply(told("kubernetes", pod)).wait(1);
    assert_eq!(before.findings(), after.findings(), "{:?}", before.engine.findings().next());
    let messages = |world: &World| world.engine.findings().map(|one| one.message.clone()).collect::<Vec<_>>();
    assert_eq!(messages(&before), messages(&after));
    before.findings()
}

fn by_policy(peers: Vec<PolicyPeer>) -> Vec<Input> {
    let ports = vec![admitted(Tcp, Some(number(9090)), None)];
    vec![policies(vec![admits_from(policy("web"), ports, peers)])]
}

fn by_service(change: impl FnOnce(&mut Service)) -> Vec<Input> {
    let mut service = sends(service("web", "web"), 80, Tcp, number(9090));
    change(&mut service);
    vec![services(vec![service])]
}

#[test]
fn a_probe_or_a_hook_explains_the_nodes_calls_only() {
    for handler in
        [ProbeHandler::Liveness, ProbeHandler::Startup, ProbeHandler::PostStart, ProbeHandler::PreStop]
    {
        let probed = || web().probe(handler, number(9090));
        assert_eq!(called(probed(), &[], &[]), [EXPLAINED]);
        assert_eq!(called(probed(), &[], &[NODE, "127.0.0.1", "10.1.0.2"]), [EXPLAINED]);
        assert_eq!(called(probed(), &[], &[NODE, CURLERS]), [ACTIVE]);
        assert_eq!(called(probed(), &[], &[STRANGER]), [ACTIVE]);
        assert_eq!(called(probed(), &[], &[CURLERS, OUTSIDER]), [EXTERNAL]);
    }
}

#[test]
fn an_annotation_explains_the_calls_of_pods() {
    let annotated = || web().annotation("prometheus.io/port", "9090");
    assert_eq!(called(annotated(), &[], &[NODE, CURLERS, STRANGER]), [EXPLAINED]);
    assert_eq!(called(annotated(), &[], &[CURLERS, OUTSIDER]), [EXTERNAL]);
}

#[test]
fn a_service_within_the_cluster_explains_the_calls_of_pods() {
    let inside = by_service(|_| {});
    assert_eq!(called(web(), &inside, &[NODE, CURLERS, STRANGER]), [EXPLAINED]);
    assert_eq!(called(web(), &inside, &[OUTSIDER]), [EXTERNAL]);
    let headless = by_service(|service| service.kind = ServiceKind::Headless);
    assert_eq!(called(web(), &headless, &[CURLERS]), [EXPLAINED]);
    assert_eq!(called(web(), &headless, &[OUTSIDER]), [EXTERNAL]);
}

#[test]
fn a_service_that_leads_in_from_outside_explains_every_call() {
    let by_kind = |kind| by_service(move |service| service.kind = kind);
    let by_access = |outside: ExternalAccess| by_service(move |service| service.outside = outside.boxed());
    let open = [
        by_kind(ServiceKind::NodePort),
        by_kind(ServiceKind::LoadBalancer),
        by_service(|service| service.ports[0].node_port = std::num::NonZeroU16::new(30_090)),
        by_access(ExternalAccess { external_ips: vec![ip("203.0.113.1")], ..ExternalAccess::default() }),
        by_access(ExternalAccess { balancer: vec!["lb.example".to_owned()], ..ExternalAccess::default() }),
    ];
    for service in open {
        assert_eq!(called(web(), &service, &[NODE, CURLERS, OUTSIDER]), [EXPLAINED], "{service:?}");
    }
    let local = by_access(ExternalAccess { local_only: true, ..ExternalAccess::default() });
    assert_eq!(called(web(), &local, &[OUTSIDER]), [EXTERNAL]);
}

#[test]
fn a_mesh_explains_every_call() {
    let mut world = world_with(EngineOptions::default());
    world.apply(told("kubernetes", web().container("istio-proxy", Sidecar, &[])));
    world.listen_in(&cgroup("aa-bb", "istio-proxy"), APP, 10, 15_006).wait(6_000);
    world.calls(APP, Tcp, 15_006, CURLERS, 1).calls(APP, Tcp, 15_006, OUTSIDER, 1).wait(6_000);
    world.check(&["undeclared-explained 15006/TCP"]);
    assert_eq!(world.listener().declaration.explained_by[0].audience, Audience::Everybody);
}

#[test]
fn a_policy_without_from_explains_every_call() {
    assert_eq!(called(web(), &by_policy(Vec::new()), &[CURLERS, OUTSIDER]), [EXPLAINED]);
}

#[test]
fn a_policy_by_addresses_explains_the_calls_from_these_addresses() {
    let office = || by_policy(vec![block("203.0.113.0/24", &["203.0.113.128/25"])]);
    assert_eq!(called(web(), &office(), &[NODE, OUTSIDER]), [EXPLAINED]);
    assert_eq!(called(web(), &office(), &["203.0.113.129"]), [EXTERNAL], "excepted");
    assert_eq!(called(web(), &office(), &["198.51.100.1"]), [EXTERNAL]);
    assert_eq!(called(web(), &office(), &[OUTSIDER, CURLERS]), [ACTIVE], "pods have other addresses");
    let pods = by_policy(vec![block("10.1.0.0/24", &[])]);
    assert_eq!(called(web(), &pods, &[CURLERS, STRANGER]), [EXPLAINED]);
    assert_eq!(called(web(), &pods, &[OUTSIDER]), [EXTERNAL]);
    let both = by_policy(vec![block("10.1.0.0/24", &[]), block("203.0.113.0/24", &[])]);
    assert_eq!(called(web(), &both, &[CURLERS, OUTSIDER]), [EXPLAINED]);
    assert_eq!(called(web(), &by_policy(vec![block("2001:db8::/32", &[])]), &[CURLERS]), [ACTIVE]);
}

#[test]
fn a_policy_by_labels_explains_the_calls_of_the_pods_that_it_selects() {
    let by = |labels: &[(&str, &str)]| by_policy(vec![pods_with(labels)]);
    assert_eq!(called(web(), &by(&[("role", "client")]), &[CURLERS]), [EXPLAINED]);
    assert_eq!(called(web(), &by(&[]), &[CURLERS]), [EXPLAINED], "every pod of the namespace");
    assert_eq!(called(web(), &by(&[("role", "other")]), &[CURLERS]), [ACTIVE]);
    assert_eq!(called(web(), &by(&[("role", "other")]), &[STRANGER]), [EXPLAINED], "it was let through");
    assert_eq!(called(web(), &by(&[("role", "client")]), &[OUTSIDER]), [EXTERNAL]);
}

#[test]
fn a_policy_by_namespaces_explains_the_calls_of_their_pods() {
    let by = |namespaces: LabelSelector, pods: Option<LabelSelector>| {
        by_policy(vec![PolicyPeer::Pods { namespaces: Some(namespaces), pods }])
    };
    let demo = Namespace {
        name: "demo".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        annotations: BTreeMap::new(),
    };
    let known = || Input::Namespaces(Listing::All(vec![demo.clone()]));
    let with = |mut objects: Vec<Input>| {
        objects.push(known());
        objects
    };
    let name = "kubernetes.io/metadata.name";
    let team = |value| labelled(&[("team", value)]);
    assert_eq!(called(web(), &by(LabelSelector::default(), None), &[CURLERS, STRANGER]), [EXPLAINED]);
    assert_eq!(called(web(), &by(LabelSelector::default(), None), &[OUTSIDER]), [EXTERNAL]);
    assert_eq!(called(web(), &by(labelled(&[(name, "demo")]), None), &[CURLERS]), [EXPLAINED]);
    assert_eq!(called(web(), &by(labelled(&[(name, "other")]), None), &[CURLERS]), [ACTIVE]);
    assert_eq!(called(web(), &with(by(team("a"), None)), &[CURLERS]), [EXPLAINED]);
    assert_eq!(called(web(), &with(by(team("b"), None)), &[CURLERS]), [ACTIVE]);
    assert_eq!(called(web(), &by(team("b"), None), &[CURLERS]), [EXPLAINED], "its labels are not known");
    let client = Some(labelled(&[("role", "client")]));
    assert_eq!(called(web(), &with(by(team("a"), client.clone())), &[CURLERS]), [EXPLAINED]);
    assert_eq!(called(web(), &with(by(team("b"), client)), &[CURLERS]), [ACTIVE]);
    let other = Some(labelled(&[("role", "other")]));
    assert_eq!(called(web(), &with(by(team("a"), other)), &[CURLERS]), [ACTIVE]);
}

#[test]
fn a_policy_that_is_kept_in_part_explains_every_call() {
    let unknown = by_policy(vec![block("192.168.0.0/16", &[]), PolicyPeer::Unknown]);
    assert_eq!(called(web(), &unknown, &[CURLERS, OUTSIDER]), [EXPLAINED]);
    let many = by_policy(vec![block("192.168.0.0/16", &[]); 300]);
    assert_eq!(called(web(), &many, &[OUTSIDER]), [EXPLAINED], "more than are compared");
}

#[test]
fn only_the_rule_that_names_the_port_says_who_is_explained() {
    let ports = |port: u16| vec![admitted(Tcp, Some(number(port)), None)];
    let rules = admits_from(policy("web"), ports(9090), vec![block("10.1.0.0/24", &[])]);
    let rules = admits(rules, ports(8080));
    let rules = admits(rules, Vec::new());
    assert_eq!(called(web(), &[policies(vec![rules])], &[OUTSIDER]), [EXTERNAL]);
    let by_name = admits(policy("named"), vec![admitted(Tcp, Some(named("admin")), None)]);
    let rules = admits_from(policy("web"), ports(9090), vec![block("10.1.0.0/24", &[])]);
    assert_eq!(called(web(), &[policies(vec![rules, by_name])], &[OUTSIDER]), [EXTERNAL]);
}

#[test]
fn the_audience_is_the_union_over_all_explanations() {
    let mut both = by_policy(vec![block("203.0.113.0/24", &[])]);
    both.extend(by_service(|_| {}));
    assert_eq!(called(web(), &both, &[CURLERS, OUTSIDER]), [EXPLAINED]);
    assert_eq!(called(web(), &both, &[CURLERS, "198.51.100.1"]), [EXTERNAL]);
    let probed = web().probe(ProbeHandler::Liveness, number(9090));
    assert_eq!(called(probed, &by_service(|_| {}), &[NODE, CURLERS]), [EXPLAINED]);
}

#[test]
fn a_declared_port_has_no_audience() {
    let declared = pod("app").at("app").label("app", "web").container("app", Regular, &[(9090, Tcp)]);
    let declared = declared.uid("aa-bb").probe(ProbeHandler::Liveness, number(9090));
    assert!(called(declared, &[], &[CURLERS, OUTSIDER]).is_empty());
}

#[test]
fn a_hostnetwork_pod_that_only_kubelet_should_call() {
    let proxy = || {
        let pod = pod("proxy").uid("ee-ff").host_network().container("proxy", Regular, &[(80, Tcp)]);
        pod.probe(ProbeHandler::Liveness, number(16_443))
    };
    let serve = |callers: &[&str]| {
        let mut world = world_with(EngineOptions::default());
        let at = world.now;
        world.apply(told("kubernetes", proxy()));
        world.apply(opened_in(&cgroup("ee-ff", "proxy"), HOST, 10, 16_443, at)).wait(6_000);
        for caller in callers {
            world.calls(HOST, Tcp, 16_443, caller, 1);
        }
        world.wait(6_000);
        world.findings()
    };
    assert_eq!(serve(&["127.0.0.1", NODE]), ["undeclared-explained 16443/TCP"]);
    // Whoever reaches the node reaches the port.
    assert_eq!(serve(&["127.0.0.1", NODE, CURLERS]), ["undeclared-external 16443/TCP"]);
}

#[test]
fn a_udp_port_that_a_service_explains() {
    let mut world = world_with(EngineOptions::default());
    let at = world.now;
    world.apply(told("kubernetes", web()));
    world.apply(services(vec![sends(service("web", "web"), 53, Udp, number(5353))]));
    world.apply(crate::world::opened(APP, 10, Udp, 5353, "0.0.0.0", at)).wait(6_000);
    world.calls(APP, Udp, 5353, CURLERS, 3).wait(6_000).check(&["undeclared-explained 5353/UDP"]);
    world.calls(APP, Udp, 5353, OUTSIDER, 3).wait(6_000).check(&["undeclared-external 5353/UDP"]);
}

#[test]
fn the_message_says_who_is_explained_and_who_called() {
    let mut world = world_with(EngineOptions::default());
    world.apply(told("kubernetes", web().probe(ProbeHandler::Liveness, number(9090))));
    world.listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Tcp, 9090, NODE, 90).calls(APP, Tcp, 9090, CURLERS, 2).wait(1_000);
    let finding = world.finding();
    assert_eq!(
        finding.message,
        "port 9090/TCP is served by python3 but not declared by pod demo/app; container/app/livenessProbe explains it to \
         kubelet, but demo/curler (10.1.0.3) connected 2 times: declare it in containerPort (portolan declare writes the patch) or close it"
    );
    let beyond: Vec<_> = finding.traffic.peers.iter().map(|one| one.is_beyond_audience).collect();
    assert_eq!(beyond, [false, true], "{:?}", finding.traffic.peers);
    assert_eq!(finding.declaration.explained_by[0].audience, Audience::Node);
    world.apply(services(vec![sends(service("web", "web"), 80, Tcp, number(9090))]));
    world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(4_000);
    let message = world.finding().message.clone();
    let expected = "Service demo/web:80 explains it to pods of the cluster (1 more explains it), but 203.0.113.9 connected \
                    once from outside the cluster: close it";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_service_that_goes_and_returns_takes_nothing_away() {
    let mut world = world_with(EngineOptions::default());
    let web_service = || sends(service("web", "web"), 80, Tcp, number(9090));
    world.apply(told("kubernetes", web())).apply(service_changed(web_service()));
    world.listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Tcp, 9090, CURLERS, 1).wait(1_000).check(&[EXPLAINED]);
    world.apply(service_gone("web")).check(&[ACTIVE]);
    world.apply(service_changed(web_service())).check(&[EXPLAINED]);
    world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(4_000).check(&[EXTERNAL]);
    world.apply(service_gone("web")).check(&[EXTERNAL]);
    world.apply(service_changed(web_service())).check(&[EXTERNAL]);
}

fn narrow() -> EngineOptions {
    EngineOptions { max_peers_per_listener: 2, ..EngineOptions::default() }
}

/// A policy that explains 9090 to these peers.
fn lists(peers: Vec<PolicyPeer>) -> NetworkPolicy {
    admits_from(policy("web"), vec![admitted(Tcp, Some(number(9090)), None)], peers)
}

#[test]
fn a_caller_that_was_evicted_still_counts() {
    let explanations: [(PodBuilder, Vec<Input>); 3] = [
        (web().probe(ProbeHandler::Liveness, number(9090)), Vec::new()),
        (web(), by_service(|_| {})),
        (web(), by_policy(vec![block("10.1.0.0/24", &[])])),
    ];
    for (pod, objects) in explanations {
        let mut world = world_with(narrow());
        world.apply(told("kubernetes", pod));
        for object in objects {
            world.apply(object);
        }
        world.listen(APP, 10, 9090).wait(6_000);
        world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(4_000).check(&[EXTERNAL]);
        for host in 100..120 {
            world.calls(APP, Tcp, 9090, &format!("10.1.0.{host}"), 5);
        }
        world.wait(10_000).check(&[EXTERNAL]);
        assert!(world.listener().traffic.peers.iter().all(|peer| peer.address != ip(OUTSIDER)));
    }
}

#[test]
fn many_callers_that_a_policy_lists_stay_explained() {
    let mut world = world_with(narrow());
    world.apply(told("kubernetes", web())).apply(policies(vec![lists(vec![block("10.1.0.0/24", &[])])]));
    world.listen(APP, 10, 9090).wait(6_000);
    for host in 100..120 {
        world.calls(APP, Tcp, 9090, &format!("10.1.0.{host}"), 5);
    }
    world.wait(10_000).check(&[EXPLAINED]);
    // One of many callers in one drain that leave no room for it.
    let at = world.now;
    let hosts = (130..140).map(|host| format!("10.1.0.{host}")).chain([OUTSIDER.to_owned()]);
    let many =
        hosts.map(|host| portolan_engine::model::traffic::PeerDelta { connections: 9, ..peer(&host, at) });
    world.drain(APP, Tcp, 9090, drained(many.collect())).wait(10_000).check(&[EXTERNAL]);
}

#[test]
fn a_caller_that_no_policy_listed_stays_one_when_its_pod_is_forgotten() {
    let mut world = world_with(EngineOptions::default());
    world
        .apply(told("kubernetes", web()))
        .apply(policies(vec![lists(vec![pods_with(&[("role", "other")])])]));
    world.listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Tcp, 9090, CURLERS, 1).wait(4_000).check(&[ACTIVE]);
    world.apply(gone("kubernetes", "cc-dd")).wait(200_000);
    world.apply(told("kubernetes", web().annotation("note", "x"))).wait(1).check(&[ACTIVE]);
}

#[test]
fn labels_of_a_caller_and_peers_of_a_policy_may_change() {
    let mut world = world_with(EngineOptions::default());
    let changed = |peers| Input::NetworkPolicies(Listing::Changed(Box::new(lists(peers))));
    world.apply(told("kubernetes", web())).apply(policies(vec![lists(vec![pods_with(&[("tier", "a")])])]));
    world.listen(APP, 10, 9090).wait(6_000);
    world.calls(APP, Tcp, 9090, CURLERS, 1).wait(4_000).check(&[EXPLAINED]);
    world.apply(told("kubernetes", curler().label("tier", "b"))).check(&[ACTIVE]);
    world.apply(changed(vec![pods_with(&[("tier", "b")])])).check(&[EXPLAINED]);
    world.apply(changed(vec![block("203.0.113.0/24", &[])])).check(&[ACTIVE]);
    world.apply(changed(Vec::new())).check(&[EXPLAINED]);
}

#[test]
fn labels_of_a_namespace_may_change() {
    let mut world = world_with(EngineOptions::default());
    let team = |value: &str| Namespace {
        name: "demo".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), value.to_owned())]),
        annotations: BTreeMap::new(),
    };
    let by_team = PolicyPeer::Pods { namespaces: Some(labelled(&[("team", "a")])), pods: None };
    world.apply(told("kubernetes", web())).apply(policies(vec![lists(vec![by_team])]));
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Tcp, 9090, CURLERS, 1).wait(4_000).check(&[EXPLAINED]);
    let changed = |namespace| Input::Namespaces(Listing::Changed(Box::new(namespace)));
    world.apply(changed(team("b"))).check(&[ACTIVE]);
    world.apply(changed(team("a"))).check(&[EXPLAINED]);
}

#[test]
fn a_client_behind_the_nodes_address_is_the_one_that_counts() {
    // Connection tracking is asked about recorded connections only.
    let came = |client: &str| {
        let mut world = world_with(EngineOptions { record: RecordMode::All, ..EngineOptions::default() });
        world
            .apply(told("kubernetes", web()))
            .apply(policies(vec![lists(vec![block("203.0.113.0/24", &[])])]));
        world.listen(APP, 10, 9090).wait(6_000);
        let at = world.now;
        world.apply(crate::nat_paths::comes("10.1.0.1", Some((client, NODE, 30_090)), 77, at));
        world.apply(call(APP, Tcp, 9090, "10.1.0.1", 1, at)).wait(6_000);
        world.findings()
    };
    assert_eq!(came(OUTSIDER), [EXPLAINED]);
    assert_eq!(came("198.51.100.1"), [EXTERNAL]);
}

#[test]
fn an_explained_port_is_recorded_once_somebody_else_calls() {
    let mut world = world_with(EngineOptions::default());
    world.apply(told("kubernetes", web().probe(ProbeHandler::Liveness, number(9090))));
    world.listen(APP, 10, 9090).wait(6_000);
    let records = |world: &World| {
        let asked = world.said.iter().filter_map(|change| match change {
            Change::Record { on, .. } => Some(*on),
            _ => None,
        });
        asked.collect::<Vec<_>>()
    };
    world.calls(APP, Tcp, 9090, NODE, 1).wait(1_000);
    assert_eq!(records(&world), [false]);
    world.calls(APP, Tcp, 9090, CURLERS, 1).wait(1_000);
    assert_eq!(records(&world), [false, true]);
}
