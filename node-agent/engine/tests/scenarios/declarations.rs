//! What manifests say: who may declare, protocols, stale declarations, and manifests that change.

use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::pod::ContainerKind::{Ephemeral, Init, Regular, Sidecar};

use crate::world::{APP, World, app, netns, opened, pod, pods, scan};

#[test]
fn only_containers_and_sidecars_declare() {
    let mut world = World::new();
    let declared = pod("app")
        .at("app")
        .container("app", Regular, &[(1, Tcp)])
        .container("sidecar", Sidecar, &[(2, Tcp)])
        .container("init", Init, &[(3, Tcp)])
        .container("debug", Ephemeral, &[(4, Tcp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![declared.into()]));
    for port in 1..5 {
        world.listen(APP, u64::from(port), port);
    }
    world.wait(6_000).check(&["undeclared-reachable 3/TCP", "undeclared-reachable 4/TCP"]);
}

#[test]
fn the_protocol_must_match() {
    let mut world = World::new();
    let declared = pod("app").at("app").container("app", Regular, &[(80, Udp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![declared.into()]));
    let at = world.now;
    world.listen(APP, 1, 80).apply(opened(APP, 2, Udp, 80, "0.0.0.0", at));
    world.wait(6_000).check(&["undeclared-reachable 80/TCP"]);
}

#[test]
fn a_new_declaration_resolves_the_finding() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000);
    let declared = pod("multi-port-app").at("app").container("app", Regular, &[(8080, Tcp), (9090, Tcp)]);
    world.apply(pods(vec![declared.into()]));
    assert_eq!(world.told("undeclared-reachable"), [FindingState::Open, FindingState::Resolved]);
    assert_eq!(
        world.engine.listeners().next().expect("a listener").declaration.declared_by,
        ["container/app"]
    );
}

#[test]
fn a_declared_port_that_nobody_serves_is_stale_after_its_own_grace() {
    let mut world = World::demo();
    let at = world.now;
    world.apply(scan(APP, at, &[])).wait(59_000).check(&[]);
    world.wait(2_000).check(&["stale-declaration"]);
    let stale = world.engine.findings().next().expect("a finding");
    assert_eq!((stale.protocol, stale.port.map(|port| port.get())), (Some(Tcp), Some(8080)));
    world.listen(APP, 10, 8080).check(&[]);
    world.close(APP, 10).wait(61_000).check(&["stale-declaration"]);
}

#[test]
fn a_netns_that_was_never_listed_says_nothing_of_stale_declarations() {
    let mut world = World::demo();
    world.wait(600_000).check(&[]);
}

#[test]
fn two_containers_declaring_the_same_port_leave_the_container_open() {
    let mut world = World::new();
    let both =
        pod("app").at("app").container("a", Regular, &[(80, Tcp)]).container("b", Regular, &[(80, Tcp)]);
    world.apply(netns(APP, "app", "10.1.0.2/24")).apply(pods(vec![both.into()])).listen(APP, 1, 80);
    let listener = world.engine.listeners().next().expect("a listener");
    assert_eq!(listener.declaration.declared_by, ["container/a", "container/b"]);
    assert!(listener.container.is_none());
}

#[test]
fn a_deleted_pod_resolves_what_was_said_of_it() {
    let mut world = World::demo();
    world.listen(APP, 10, 9090).wait(6_000).apply(pods(Vec::new()));
    world.check(&[]);
    world.apply(pods(vec![app()])).check(&["undeclared-reachable 9090/TCP"]);
}
