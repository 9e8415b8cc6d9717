//! Recorded connections: one report for a short connection, two for a long one, and none is lost in between.

use std::collections::BTreeMap;

use portolan_engine::model::change::Change;
use portolan_engine::model::connection::{Connection, ConnectionClosed, ConnectionFact, ConnectionOpened};
use portolan_engine::model::identity::{BootTime, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use proptest::prelude::*;

use crate::world::{APP, CURLER, World, app, ip, ms, netns, pod, pods, port};

fn opened(cookie: u64, at: BootTime) -> ConnectionOpened {
    ConnectionOpened {
        cookie: SocketCookie(cookie),
        port: port(APP, Protocol::Tcp, 9090),
        local: ip("10.1.0.2"),
        remote: (ip("10.1.0.3"), 40_000),
        dialled: None,
        accepted_by: None,
        at,
    }
}

fn open(cookie: u64, at: u64) -> ConnectionFact {
    ConnectionFact::Opened(opened(cookie, ms(at)))
}

fn close(cookie: u64, at: u64) -> ConnectionFact {
    let at = ms(at);
    ConnectionFact::Closed(ConnectionClosed { opened: opened(cookie, at), at, bytes_in: 5, bytes_out: 7 })
}

/// A world at 10 s with recording on for port 9090.
fn recording(max_connections: usize) -> World {
    let mut world = World::with(EngineOptions { max_connections, ..EngineOptions::default() });
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    world.apply(pods(vec![app(), pod("curler").at("curler").into()]));
    world.listen(APP, 10, 9090).wait(9_000);
    world
}

/// The reported connections: when each opened and ended, in milliseconds.
fn told(world: &World) -> Vec<(u64, Option<u64>)> {
    let millis = |at: BootTime| at.0 / 1_000_000;
    let told = world.said.iter().filter_map(|change| match change {
        Change::Connection(told) => Some((millis(told.opened_at), told.closed_at.map(millis))),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_short_connection_is_one_line_and_names_its_pods() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990), close(1, 9_995)]));
    assert_eq!(told(&world), [(9_990, Some(9_995))]);
    world.wait(1_000);
    assert_eq!(told(&world).len(), 1);
    let known: &Connection = world.engine.connections().next().expect("a connection");
    assert_eq!((known.bytes_in, known.bytes_out), (5, 7));
    assert_eq!(known.reference.as_deref(), Some("demo/curler"));
    assert_eq!(known.pod.as_ref().map(|pod| pod.name.as_str()), Some("multi-port-app"));
}

#[test]
fn a_connection_that_ends_within_the_hold_is_one_line() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990)]));
    assert_eq!(world.engine.connections().count(), 1, "it can be asked for at once");
    assert_eq!(told(&world), []);
    world.wait(50).apply(Input::Connections(vec![close(1, 10_045)]));
    assert_eq!(told(&world), [(9_990, Some(10_045))]);
}

#[test]
fn a_longer_connection_is_told_when_it_opened_and_when_it_ended() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990)])).wait(100);
    assert_eq!(told(&world), [(9_990, None)]);
    world.wait(5_000).apply(Input::Connections(vec![close(1, 15_000)]));
    assert_eq!(told(&world), [(9_990, None), (9_990, Some(15_000))]);
}

#[test]
fn what_a_full_table_pushes_out_is_told_first() {
    let mut world = recording(2);
    world.apply(Input::Connections((1..=5).map(|cookie| open(cookie, 9_990 + cookie)).collect()));
    assert_eq!(told(&world), [(9_991, None), (9_992, None), (9_993, None)]);
    world.wait(1_000);
    assert_eq!(told(&world).len(), 5);
}

proptest! {
    #[test]
    fn every_connection_is_told_whatever_the_order(
        connections in prop::collection::vec((any::<bool>(), 0..300_u64), 1..40),
        order in any::<prop::sample::Index>(),
        batch in 1..7_usize,
    ) {
        let mut world = recording(100);
        let mut facts = Vec::new();
        let mut expected = BTreeMap::new();
        for (cookie, (ends, length)) in (1_u64..).zip(&connections) {
            let at = 10_000 + cookie;
            facts.push(open(cookie, at));
            facts.extend(ends.then(|| close(cookie, at + length)));
            expected.insert(at, ends.then_some(at + length));
        }
        let turn = order.index(facts.len());
        facts.rotate_left(turn);
        for batch in facts.chunks(batch) {
            world.apply(Input::Connections(batch.to_vec())).wait(20);
        }
        world.wait(1_000);
        let kept: BTreeMap<u64, Option<u64>> = world
            .engine
            .connections()
            .map(|c| (c.opened_at.0 / 1_000_000, c.closed_at.map(|at| at.0 / 1_000_000)))
            .collect();
        prop_assert_eq!(&kept, &expected);
        let last: std::collections::BTreeSet<Option<u64>> = told(&world).into_iter().map(|(_, end)| end).collect();
        for end in expected.values() {
            prop_assert!(last.contains(end), "{end:?} was not told");
        }
    }
}
