//! The origin of traffic as findings report it.

use libtest_mimic::Trial;
use portolan_report::wire::Peer;

use super::case;
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("origin/from_the_same_pod", from_the_same_pod),
        case("origin/from_another_pod", from_another_pod),
        case("origin/from_outside", from_outside),
        case("origin/from_several_at_once", from_several_at_once),
    ]
}

fn only(peers: &[Peer]) -> (String, String, Option<String>) {
    assert_eq!(peers.len(), 1, "{peers:?}");
    (peers[0].address.clone(), peers[0].origin.clone(), peers[0].reference.clone())
}

fn from_the_same_pod() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    web.connect_many("127.0.0.1:7000".parse().unwrap(), 2);
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections == 2);
    assert_eq!(only(&seen.traffic.peers).1, "same-pod");
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    assert_eq!(finding.code, "undeclared-reachable", "a pod's own connections do not make it active");
    world.settles(&agent);
}

fn from_another_pod() {
    let world = World::new(&["web", "curler"]);
    let agent = world.agent();
    let (web, curler) = (world.actor("web"), world.actor("curler"));
    web.serve("0.0.0.0:7000");
    curler.connect_many(world.v4("web", 7000), 1);
    let finding = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    assert_eq!(finding.severity, "high");
    let expected = (world.address("curler").to_string(), "pod".into(), Some("tier/curler".into()));
    assert_eq!(only(&finding.traffic.peers), expected);
    world.settles(&agent);
}

fn from_outside() {
    let world = World::new(&["web", "outside"]);
    let agent = world.agent();
    let (web, outside) = (world.actor("web"), world.actor("outside"));
    web.serve("0.0.0.0:7000");
    outside.connect_many(world.v4("web", 7000), 1);
    let finding = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-external");
    assert_eq!(finding.severity, "critical");
    let (address, origin, _) = only(&finding.traffic.peers);
    assert_eq!((address.as_str(), origin.as_str()), ("203.0.113.5", "external"));
    world.settles(&agent);
}

fn from_several_at_once() {
    let world = World::new(&["web", "one", "two", "three"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.serve("0.0.0.0:7000");
    for (role, times) in [("one", 3), ("two", 2), ("three", 1)] {
        world.actor(role).connect_many(world.v4("web", 7000), times);
    }
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections == 6);
    let order: Vec<_> = seen.traffic.peers.iter().filter_map(|peer| peer.reference.clone()).collect();
    assert_eq!(order, ["tier/one", "tier/two", "tier/three"], "busiest first");
    world.settles(&agent);
}
