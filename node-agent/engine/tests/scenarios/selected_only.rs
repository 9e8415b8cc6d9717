//! A change of one object costs in proportion to what it touches, not to what the node has; measured in judged ports.

use portolan_engine::model::identity::Protocol::Tcp;
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::{IngressRule, NetworkPolicy};
use portolan_engine::model::pod::ContainerKind::Regular;

use crate::objects::{block, for_app, number, policy, sends, service, service_changed, service_gone};
use crate::world::{World, netns, pod, told};

const PODS: u64 = 200;
const REPLICAS: u64 = 4;

/// Pods of 50 workloads, each pod with three undeclared ports.
fn full_node() -> World {
    let mut world = World::new();
    for n in 1..=PODS {
        let (name, app) = (format!("pod-{n}"), format!("app-{}", (n - 1) / REPLICAS));
        world.apply(netns(n, &name, &format!("10.1.{}.{}/24", n / 200, n % 200 + 2)));
        let pod = pod(&name).at(&name).label("app", &app).label("team", "all");
        world.apply(told("kubernetes", pod.container("app", Regular, &[])));
        for port in 0..3_u16 {
            world.listen(n, n * 10 + u64::from(port), 9_090 + port);
        }
    }
    world.wait(6_000);
    world
}

fn judged(world: &mut World, input: Input) -> u64 {
    let before = world.engine.counts().totals.judged;
    world.apply(input);
    world.engine.counts().totals.judged - before
}

#[test]
fn a_service_change_touches_only_the_pods_that_it_selects() {
    let mut world = full_node();
    let to = |app: &str, port| service_changed(sends(service("web", app), 80, Tcp, number(port)));
    assert_eq!(judged(&mut world, to("app-7", 9_090)), REPLICAS, "one port of each replica");
    assert_eq!(judged(&mut world, to("app-7", 9_090)), 0, "the same again");
    assert_eq!(judged(&mut world, to("app-7", 9_092)), 2 * REPLICAS, "from one port to another");
    assert_eq!(judged(&mut world, to("app-8", 9_092)), 2 * REPLICAS, "from one workload to another");
    assert_eq!(judged(&mut world, to("nobody", 9_092)), REPLICAS, "away from the last");
    assert_eq!(judged(&mut world, service_gone("web")), 0);
    assert_eq!(world.engine.findings().count(), 600);
}

#[test]
fn a_policy_change_touches_only_the_pods_that_it_selects() {
    let mut world = full_node();
    world.apply(Input::NetworkPolicies(Listing::All(Vec::new())));
    let change = Input::NetworkPolicies(Listing::Changed(Box::new(for_app(policy("web"), "app-7"))));
    assert_eq!(judged(&mut world, change), 3 * REPLICAS);
    let again = |peers| {
        let rule = IngressRule { ports: Vec::new(), peers };
        let open = NetworkPolicy { ingress: vec![rule], ..for_app(policy("web"), "app-7") };
        Input::NetworkPolicies(Listing::Changed(Box::new(open)))
    };
    assert_eq!(
        judged(&mut world, again(vec![block("10.0.0.0/8", &[])])),
        3 * REPLICAS,
        "open instead of closed"
    );
    assert_eq!(
        judged(&mut world, again(vec![block("10.2.0.0/16", &[])])),
        0,
        "to somebody else, which changes no verdict"
    );
}

#[test]
fn a_label_that_nobody_asks_for_changes_no_verdict() {
    let mut world = full_node();
    world.apply(service_changed(sends(service("web", "app-7"), 80, Tcp, number(9_090))));
    let labelled = |app: &str, release: &str| {
        let pod = pod("pod-29").at("pod-29").label("app", app).label("team", "all").label("release", release);
        told("kubernetes", pod.container("app", Regular, &[]))
    };
    assert_eq!(judged(&mut world, labelled("app-7", "1")), 0);
    assert_eq!(judged(&mut world, labelled("app-8", "1")), 3, "away from the Service");
    assert_eq!(judged(&mut world, labelled("app-8", "2")), 0);
}
