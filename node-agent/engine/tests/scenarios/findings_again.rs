//! Open findings are reported again from time to time.

use std::time::Duration;

use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::options::EngineOptions;

use crate::world::{APP, World, app, netns, pod, pods};

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
