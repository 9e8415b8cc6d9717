//! Recorded connections: one report for a short connection, two for a long one, and none is lost in between.

use std::collections::BTreeMap;

use portolan_engine::model::change::Change;
use portolan_engine::model::connection::{
    Connection, ConnectionClosed, ConnectionFact, ConnectionList, ConnectionOpened, ListedConnection,
};
use portolan_engine::model::fingerprint::hex;
use portolan_engine::model::identity::{BootTime, NetnsId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::{EngineOptions, RecordMode};
use portolan_engine::model::pod::ContainerKind;
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

/// What the kernel side was asked about the recording of port 9090.
fn recorded(world: &World) -> Vec<bool> {
    let asked = world.said.iter().filter_map(|change| match change {
        Change::Record { port, on } if port.port.get() == 9090 => Some(*on),
        _ => None,
    });
    asked.collect()
}

#[test]
fn connections_from_the_first_one_wait_until_the_port_is_decided() {
    let mut world = World::new();
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(netns(CURLER, "curler", "10.1.0.3/24"));
    // The record of the connection overtakes that of the listener.
    world.now = ms(10_000);
    world.apply(Input::Connections(vec![open(1, 9_990)])).wait(50).listen(APP, 10, 9090).wait(50);
    world.apply(Input::Connections(vec![close(1, 10_050), open(2, 10_060)])).wait(1_000);
    assert_eq!(told(&world), [], "the pod, and so whether it declares the port, is not known");
    assert_eq!(recorded(&world), []);
    world.apply(pods(vec![app(), pod("curler").at("curler").into()]));
    assert_eq!(told(&world), [(9_990, Some(10_050)), (10_060, None)]);
    assert_eq!(recorded(&world), [true]);
    let listener = world.listener().id.clone();
    assert!(world.engine.connections().all(|known| hex(known.listener_id) == listener));
    assert!(world.engine.connections().all(|known| known.reference.as_deref() == Some("demo/curler")));
}

#[test]
fn connections_of_a_port_that_is_not_recorded_leave_nothing() {
    let declares = || pod("app").at("app").container("app", ContainerKind::Regular, &[(9090, Protocol::Tcp)]);
    let mut world = World::new();
    world.now = ms(10_000);
    world.apply(netns(APP, "app", "10.1.0.2/24")).listen(APP, 10, 9090);
    world.apply(Input::Connections(vec![open(1, 9_990), open(2, 9_991), close(2, 9_995)]));
    world.apply(pods(vec![declares().into()])).wait(1_000);
    assert_eq!(recorded(&world), [false]);
    world.apply(Input::Connections(vec![open(3, 11_000), close(1, 11_010)])).close(APP, 10).wait(1_000);
    world.apply(Input::Connections(vec![close(3, 12_000)])).wait(60_000);
    assert_eq!(told(&world), []);
    assert_eq!(world.engine.connections().count(), 0);
    assert!(world.engine.counts().totals.lost.is_empty());
}

#[test]
fn undecided_connections_are_bounded_and_what_does_not_fit_is_counted() {
    let mut world = World::with(EngineOptions { max_connections: 10, ..EngineOptions::default() });
    world.now = ms(10_000);
    let facts = (1..=30).map(|cookie| open(cookie, 9_990)).collect();
    world.apply(Input::Connections(facts)).wait(20_000);
    assert_eq!(world.engine.counts().totals.lost.get("undecided-connections-full"), Some(&20));
    assert_eq!(told(&world), []);
    world.apply(Input::Connections(vec![open(99, 30_000)]));
    assert_eq!(
        world.engine.counts().totals.lost.get("undecided-connections-full"),
        Some(&20),
        "there is room again"
    );
}

#[test]
fn a_connection_outlives_its_listener_and_ends_with_one_line() {
    for is_kept in [true, false] {
        let mut world = recording(if is_kept { 100 } else { 1 });
        let id = world.listener().id.clone();
        world.apply(Input::Connections(vec![open(1, 9_990)])).wait(1_000);
        if !is_kept {
            world.apply(Input::Connections(vec![open(2, 11_000), close(2, 11_001)]));
        }
        world.close(APP, 10).wait(5_000).apply(Input::Connections(vec![close(1, 16_000)]));
        let last = world.said.iter().rev().find_map(|change| match change {
            Change::Connection(connection) => Some(connection),
            _ => None,
        });
        let last = last.expect("a line");
        assert_eq!((last.closed_at, last.bytes_in, last.bytes_out), (Some(ms(16_000)), 5, 7));
        assert_eq!(hex(last.listener_id), id);
        assert_eq!(last.pod.as_ref().map(|pod| pod.name.as_str()), Some("multi-port-app"));
    }
}

fn list(at: BootTime, open: &[(u64, u64)]) -> Input {
    let connections = open.iter().map(|(cookie, bytes)| ListedConnection {
        cookie: SocketCookie(*cookie),
        bytes_in: *bytes,
        bytes_out: *bytes,
    });
    Input::ConnectionsListed(ConnectionList { netns: NetnsId(APP), at, connections: connections.collect() })
}

#[test]
fn a_connection_that_the_kernel_does_not_list_has_ended() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990), open(2, 9_991)])).wait(1_000);
    let at = world.now;
    world.apply(Input::Connections(vec![open(3, 11_000)])).wait(10);
    world.apply(list(at, &[(1, 700)])).wait(1_000);
    assert_eq!(told(&world).len(), 3, "the record of an end may still arrive");
    world.wait(2_000);
    let ends: Vec<_> = told(&world).into_iter().filter(|(_, end)| end.is_some()).collect();
    assert_eq!(ends, [(9_991, Some(11_000))]);
    assert_eq!(world.engine.counts().totals.lost.get("connection-end-missed"), Some(&1));
    let bytes: Vec<u64> = world.engine.connections().map(|known| known.bytes_in).collect();
    assert_eq!(bytes, [0, 0, 700], "the first is open, and its bytes are those of the list");
    // The record is exact if it arrives after all.
    world.apply(Input::Connections(vec![close(2, 10_500)]));
    let known = world.engine.connections().find(|known| known.opened_at == ms(9_991)).expect("it is kept");
    assert_eq!((known.closed_at, known.bytes_in), (Some(ms(10_500)), 5));
}

#[test]
fn a_record_that_arrives_a_moment_after_the_list_is_the_end() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990)])).wait(1_000);
    let at = world.now;
    world.apply(list(at, &[])).wait(1_000).apply(Input::Connections(vec![close(1, 10_900)])).wait(5_000);
    assert_eq!(told(&world), [(9_990, None), (9_990, Some(10_900))]);
    assert!(world.engine.counts().totals.lost.is_empty());
}

#[test]
fn long_connections_are_asked_for_once_a_minute() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990)]));
    let asked = |world: &World| {
        world.said.iter().filter(|change| **change == Change::ListConnections(NetnsId(APP))).count()
    };
    world.wait(59_000);
    assert_eq!(asked(&world), 0);
    world.wait(120_500);
    assert_eq!(asked(&world), 2);
    world.apply(Input::Connections(vec![close(1, 190_000)])).wait(600_000);
    assert_eq!(asked(&world), 2);
}

#[test]
fn the_end_of_a_netns_ends_its_connections() {
    let mut world = recording(100);
    world.apply(Input::Connections(vec![open(1, 9_990)])).wait(1_000);
    let at = world.now;
    world.apply(Input::NetnsGone { netns: NetnsId(APP), at }).wait(5_000);
    assert_eq!(told(&world), [(9_990, None), (9_990, Some(11_000))]);
}

#[test]
fn every_connection_is_recorded_if_all_are_to_be() {
    let mut world = World::with(EngineOptions { record: RecordMode::All, ..EngineOptions::default() });
    world.now = ms(10_000);
    world.apply(Input::Connections(vec![open(1, 9_990), close(1, 9_995)]));
    assert_eq!(told(&world), [(9_990, Some(9_995))]);
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

#[test]
fn a_call_over_loopback_has_no_record_unless_all_have_one() {
    for (record, expected) in [(RecordMode::Undeclared, 1), (RecordMode::All, 2)] {
        let mut world = World::with(EngineOptions { record, ..EngineOptions::default() });
        world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![app()]));
        world.listen(APP, 10, 9090).wait(9_000);
        let from =
            |cookie, address| ConnectionOpened { remote: (ip(address), 40_000), ..opened(cookie, ms(9_990)) };
        let of_probe = from(1, "127.0.0.1");
        let closed = ConnectionClosed { opened: of_probe.clone(), at: ms(9_995), bytes_in: 5, bytes_out: 7 };
        // A proxy in the pod passes on somebody else's call.
        let mut of_proxy = from(2, "127.0.0.6");
        of_proxy.accepted_by = std::num::NonZeroU16::new(15_006);
        let facts = [
            ConnectionFact::Opened(of_probe),
            ConnectionFact::Closed(closed),
            ConnectionFact::Opened(of_proxy),
        ];
        world.apply(Input::Connections(facts.into())).wait(1_000);
        assert_eq!(told(&world).len(), expected, "{record:?}");
        assert_eq!(world.engine.connections().count(), expected);
    }
}
