//! Severity that must not be lost: calls of the last moments, ports that a storm hides, and what a restart remembers. And what
//! must not be kept: the past of a port that closed.

use std::collections::BTreeMap;

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::pod::ProbeHandler;
use portolan_engine::model::traffic::TrafficDrain;

use crate::objects::number;
use crate::world::{APP, HOST, PodBuilder, World, cgroup, host, ms, netns, opened, pod, scan, told};

const OUTSIDER: &str = "203.0.113.9";

fn web() -> PodBuilder {
    pod("app").uid("aa-bb").at("app").container("app", Regular, &[(8080, Tcp)])
}

/// A node with one pod, whose counters are drained.
fn node(options: EngineOptions, web: PodBuilder) -> World {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..options });
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web));
    world
}

/// The agent after a restart, with what the run before remembered.
fn restarted(before: &World, options: EngineOptions) -> World {
    let mut world = World::with(EngineOptions { traffic_drained: true, ..options });
    world.apply(Input::Remembered(before.engine.findings_to_remember()));
    world.apply(host()).apply(netns(APP, "app", "10.1.0.2/24")).apply(told("kubernetes", web()));
    world
}

#[test]
fn an_outsider_in_the_last_moments_of_an_explained_port_is_told() {
    for web in [web(), web().probe(ProbeHandler::Liveness, number(9090))] {
        let mut world = node(EngineOptions::default(), web);
        world.listen(APP, 10, 9090).wait(10_000);
        world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(100);
        world.close(APP, 10).wait(100);
        let at = world.now;
        world.apply(Input::Traffic(TrafficDrain { at, ports: BTreeMap::new() })).wait(10_000);
        assert_eq!(world.told("undeclared-external"), [FindingState::Open, FindingState::Resolved]);
    }
}

#[test]
fn ports_that_a_storm_hides_are_remembered() {
    let options = || EngineOptions { storm_ports: 4, ..EngineOptions::default() };
    let listen = |world: &mut World| {
        for (cookie, port) in (10..).zip(9090..9098) {
            world.listen(APP, cookie, port);
        }
        world.wait(10_000);
    };
    let mut world = node(options(), web());
    listen(&mut world);
    for port in 9090..9098 {
        world.calls(APP, Tcp, port, OUTSIDER, 1);
    }
    world.wait(10_000);
    let mut next = restarted(&world, options());
    listen(&mut next);
    for cookie in 10..16 {
        next.close(APP, cookie);
    }
    next.wait(10_000).check(&["undeclared-external 9096/TCP", "undeclared-external 9097/TCP"]);
}

#[test]
fn a_udp_port_that_closes_before_its_first_report_takes_its_past_along() {
    let mut world = node(EngineOptions::default(), web());
    world.apply(opened(APP, 10, Udp, 5353, "0.0.0.0", ms(1_000))).wait(6_000);
    world.calls(APP, Udp, 5353, OUTSIDER, 1).wait(10_000).check(&["undeclared-external 5353/UDP"]);
    let mut next = restarted(&world, EngineOptions::default());
    let at = next.now;
    next.apply(opened(APP, 10, Udp, 5353, "0.0.0.0", at)).wait(200).close(APP, 10).wait(60_000);
    let at = next.now;
    next.apply(opened(APP, 11, Udp, 5353, "0.0.0.0", at)).wait(60_000);
    next.check(&["undeclared-reachable 5353/UDP"]);
}

#[test]
fn a_port_of_a_netns_inside_the_pod_does_not_answer_for_the_pods_own() {
    let mut world = node(EngineOptions::default(), web());
    world.apply(scan(APP, ms(1_000), &[])).wait(70_000).check(&["stale-declaration"]);
    world.apply(netns(77, "nested", "10.9.0.2/24"));
    world.listen_in(&cgroup("aa-bb", "app"), 77, 30, 8080).wait(10_000);
    assert!(world.findings().contains(&"stale-declaration".to_owned()), "{:?}", world.findings());
}

#[test]
fn a_pods_call_before_the_restart_is_not_told_as_an_outsiders() {
    let listen = |world: &mut World| {
        let pod = pod("app").uid("aa-bb").host_network().container("app", Regular, &[(8080, Tcp)]);
        world.apply(host()).apply(told("kubernetes", pod));
        world.listen_in(&cgroup("aa-bb", "app"), HOST, 10, 9090).wait(6_000);
    };
    let mut world = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    listen(&mut world);
    world.calls(HOST, Tcp, 9090, "10.1.0.77", 1).wait(10_000);
    let mut next = World::with(EngineOptions { traffic_drained: true, ..EngineOptions::default() });
    next.apply(Input::Remembered(world.engine.findings_to_remember()));
    listen(&mut next);
    next.wait(10_000);
    let finding = next.finding();
    assert_eq!(finding.code.as_str(), "undeclared-external");
    assert!(!finding.message.contains("came from outside"), "{}", finding.message);
}

#[test]
fn an_outsider_who_left_the_list_is_not_told_as_the_pod_that_stayed() {
    let mut world = node(EngineOptions { max_peers_per_listener: 1, ..EngineOptions::default() }, web());
    world.listen(APP, 10, 9090).wait(10_000);
    world.calls(APP, Tcp, 9090, OUTSIDER, 1).wait(5_000);
    world.calls(APP, Tcp, 9090, "10.1.0.77", 9).wait(5_000);
    let finding = world.finding();
    assert_eq!(finding.code.as_str(), "undeclared-external");
    assert!(finding.message.contains("not listed any more"), "{}", finding.message);
    assert!(!finding.message.contains("the node's own address"), "{}", finding.message);
}
