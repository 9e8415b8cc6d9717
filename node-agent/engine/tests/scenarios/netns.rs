//! Network namespaces that come, go, and come again.

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::identity::Protocol::Tcp;
use portolan_engine::model::input::Input;

use crate::world::{APP, HOST, World, host, ms, netns, netns_at, pods, scan};

fn gone(netns: u64, world: &World) -> Input {
    Input::NetnsGone { netns: NetnsId(netns), at: world.now }
}

#[test]
fn a_netns_that_was_taken_for_gone_comes_back_with_all_it_has() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).check(&["undeclared-reachable 9090/TCP"]);
    world.apply(gone(APP, &world)).check(&[]);
    world.wait(1_000);
    world.apply(netns_at(APP, "app", "10.1.0.2/24", world.now));
    world.apply(scan(APP, world.now, &[(10, Tcp, 9090)])).wait(100_000);
    world.check(&["stale-declaration", "undeclared-reachable 9090/TCP"]);
    assert_eq!(world.listeners(), ["9090/TCP multi-port-app"]);
    assert_eq!(world.printed(9090), (2, 1));
    world.calls(APP, Tcp, 9090, "10.1.0.2", 1).calls(APP, Tcp, 9090, "10.1.0.3", 1);
    world.check(&["stale-declaration", "undeclared-active 9090/TCP"]);
}

#[test]
fn an_end_that_is_told_late_does_not_end_a_netns_that_was_seen_since() {
    let mut world = World::demo();
    let late = gone(APP, &world);
    world.wait(1_000);
    world.apply(netns_at(APP, "app", "10.1.0.2/24", world.now));
    world.listen(APP, 10, 9090).apply(late).wait(6_000);
    assert_eq!(world.listeners(), ["9090/TCP multi-port-app"]);
}

#[test]
fn facts_older_than_the_end_do_not_bring_a_netns_back() {
    let mut world = World::new();
    world.apply(pods(vec![crate::world::app()]));
    world.apply(gone(APP, &world)).apply(netns(APP, "app", "10.1.0.2/24"));
    assert_eq!(world.engine.counts().netns, 0);
    world.wait(100_000);
    assert!(!world.engine.knows_netns(NetnsId(APP)));
}

#[test]
fn the_nodes_own_netns_comes_back_too() {
    let mut world = World::demo();
    world.apply(gone(HOST, &world)).wait(1_000);
    let mut seen = host();
    if let Input::NetnsSeen { at, .. } = &mut seen {
        *at = ms(3_000);
    }
    world.apply(seen).listen(APP, 10, 9090).wait(6_000).calls(APP, Tcp, 9090, "192.0.2.10", 1);
    world.wait(10_000).check(&["undeclared-reachable 9090/TCP"]);
}
