//! Open findings are reported again from time to time.

use std::time::Duration;

use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::fingerprint::parse;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::pod::{Pod, Workload};

use crate::objects::{number, sends, service, services};
use crate::world::{APP, World, app, netns, pod, pods, scan, told};

/// When a finding was reported, in seconds since the first one.
fn reports(world: &mut World, seconds: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for second in 0..seconds {
        let before = world.said.len();
        world.wait(1_000);
        let said = world.said.get(before..).unwrap_or_default();
        times.extend(said.iter().filter(|change| matches!(change, Change::Finding(_))).map(|_| second));
    }
    times
}

#[test]
fn an_open_finding_is_told_again_after_the_interval() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    let times = reports(&mut world, 2_100);
    assert_eq!(times.len(), 3, "{times:?}");
    assert!(times.windows(2).all(|pair| (600..=676).contains(&(pair[1] - pair[0]))), "{times:?}");
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Open; 4]);
    let last = world.finding();
    assert!(last.last_seen > last.first_seen);
    world.close(APP, 10);
    assert_eq!(reports(&mut world, 2_000), []);
    assert_eq!(world.engine.next_deadline(), None);
}

#[test]
fn a_report_in_between_puts_the_next_one_off() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(500_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    let times = reports(&mut world, 700);
    assert_eq!(times.len(), 1, "{times:?}");
    assert!(times[0] >= 599, "{times:?}");
}

#[test]
fn zero_means_never() {
    let mut world =
        World::with(EngineOptions { repeat_findings: Duration::ZERO, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()])).listen(APP, 10, 9090).wait(6_000);
    assert_eq!(reports(&mut world, 2_000), []);
}

#[test]
fn many_findings_are_spread_out() {
    let mut world = World::new();
    let all = 1_000_u64;
    for id in 1..=all {
        world.apply(netns(id, &format!("n{id}"), "10.1.0.2/24"));
        world.listen(id, id, 9090);
    }
    world.apply(pods((1..=all).map(|id| pod(&format!("p{id}")).at(&format!("n{id}")).into()).collect()));
    world.wait(10_000);
    let times = reports(&mut world, 700);
    assert_eq!(times.len(), 1_000);
    let most = times.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or_default();
    assert!(most <= 60, "{most} in one second");
}

/// Codes of the findings that were reported after the first `before` changes, with the workload of their pod.
fn owners(world: &World, before: usize) -> Vec<(&'static str, Option<String>)> {
    let said = world.said.get(before..).unwrap_or_default();
    let findings = said.iter().filter_map(|change| match change {
        Change::Finding(finding) => {
            let workload = finding.pod.as_ref().and_then(|pod| pod.workload.as_ref());
            Some((finding.code.as_str(), workload.map(|workload| workload.name.clone())))
        }
        _ => None,
    });
    let mut all: Vec<_> = findings.collect();
    all.sort();
    all
}

#[test]
fn findings_about_a_pod_are_told_once_more_when_its_workload_becomes_known() {
    let mut world = World::with(EngineOptions { storm_ports: 4, ..EngineOptions::default() });
    let by_runtime = pod("app").uid("aa-bb").at("app").label("app", "web").address("10.1.0.2");
    let by_runtime = by_runtime.container("app", Regular, &[(8080, Protocol::Tcp)]).running(true);
    let mut by_server: Pod = pod("app")
        .uid("aa-bb")
        .label("app", "web")
        .address("10.1.0.2")
        .container("app", Regular, &[(8080, Protocol::Tcp)])
        .into();
    by_server.workload = Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(told("cri", by_runtime));
    world.apply(services(vec![sends(service("web", "web"), 80, Protocol::Tcp, number(7070))]));
    let at = world.now;
    world.apply(scan(APP, at, &[]));
    for port in 0..6 {
        world.listen(APP, 100 + u64::from(port), 9_000 + port);
    }
    world.wait(70_000).check(&["dangling-service-port", "port-storm", "stale-declaration"]);
    let before = world.said.len();
    world.apply(told("kubernetes", by_server.clone())).wait(1_000);
    let of_web = |code| (code, Some("web".to_owned()));
    let expected = ["dangling-service-port", "port-storm", "stale-declaration"].map(of_web);
    assert_eq!(owners(&world, before), expected);
    // Another change of the pod is none of its names.
    let before = world.said.len();
    by_server.annotations.insert("a".to_owned(), "b".to_owned());
    world.apply(told("kubernetes", by_server)).wait(1_000);
    assert_eq!(owners(&world, before), []);
}

#[test]
fn a_change_of_code_is_told_with_its_time_and_the_code_before() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    let opened = world.finding();
    assert_eq!(
        (opened.changed_at, opened.previous_code),
        (None, None),
        "nothing changed since it was opened"
    );
    world.wait(60_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 1);
    let active = world.finding();
    assert_eq!(active.code, FindingCode::UndeclaredActive);
    assert_eq!(active.previous_code, Some(FindingCode::UndeclaredReachable));
    let changed_at = active.changed_at.expect("it changed");
    assert!(changed_at >= opened.last_seen.after(Duration::from_secs(59)), "{changed_at:?}");
    world.wait(700_000);
    let repeated = world.finding();
    assert_eq!(repeated.changed_at, Some(changed_at), "a repetition is no change");
    world.close(APP, 10);
    let resolved = world.said.iter().rev().find_map(|change| match change {
        Change::Finding(finding) if finding.state == FindingState::Resolved => Some(finding.clone()),
        _ => None,
    });
    let resolved = resolved.expect("it resolves");
    assert!(resolved.changed_at > Some(changed_at), "the end is a change");
    assert_eq!(resolved.previous_code, Some(FindingCode::UndeclaredReachable));
}

#[test]
fn the_traffic_of_a_finding_is_that_of_its_report() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).calls(APP, Protocol::Tcp, 9090, "10.1.0.3", 7);
    let finding = world.finding();
    let id = parse(&finding.id).expect("an id");
    let (protocol, traffic) = world.engine.finding_traffic(id).expect("its traffic");
    assert_eq!(protocol, Protocol::Tcp);
    let of_report = &finding.traffic;
    assert_eq!((traffic.connections, traffic.connections), (7, of_report.connections));
    assert_eq!((traffic.packets, traffic.bytes), (of_report.packets, of_report.bytes));
    assert_eq!((traffic.attempts, traffic.last_seen), (of_report.attempts, of_report.last_seen));
    assert_eq!(traffic.since, of_report.since);
    world.close(APP, 10).wait(10_000);
    assert!(world.engine.finding_traffic(id).is_none());
}
