//! What runtime and API server say of pods, Services and policies, among sockets that come and go: any order ends in the
//! same state.

use std::num::NonZeroU16;

use portolan_engine::model::identity::{NetnsId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::pod::ContainerKind;
use proptest::prelude::*;

use crate::objects::{admits, admitted, for_app, number, policies, policy, sends, service, service_changed};
use crate::world::{APP, CURLER, World, app, ms, netns, opened, pod, pods, scan, told};

/// One thing that really happened; what the sources say follows from it.
#[derive(Clone, Debug)]
enum Deed {
    Open { netns: u64, port: u16, udp: bool },
    Close { which: usize },
    Scan { netns: u64 },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..=2_u64, 9_000..9_004_u16, any::<bool>())
            .prop_map(|(netns, port, udp)| Deed::Open { netns, port, udp }),
        3 => any::<usize>().prop_map(|which| Deed::Close { which }),
        1 => (1..=2_u64).prop_map(|netns| Deed::Scan { netns }),
    ]
}

/// What the API server and the runtime say of the two pods, their Services and policies. Each says each thing once: what
/// they say of one object later replaces what they said before, so that the order of that is no matter of taste.
#[derive(Clone, Debug)]
struct Cluster {
    by_runtime: [bool; 2],
    by_server: [Option<(bool, bool)>; 2],
    services: Vec<(u16, bool, bool)>,
    policies: Option<Vec<(u16, u16, bool)>>,
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let by_server = proptest::array::uniform2(proptest::option::of((any::<bool>(), any::<bool>())));
    let services = proptest::collection::vec((9_000..9_004_u16, any::<bool>(), any::<bool>()), 0..4);
    let rules = proptest::collection::vec((9_000..9_004_u16, 0..3_u16, any::<bool>()), 0..3);
    let policies = proptest::option::of(rules);
    (any::<[bool; 2]>(), by_server, services, policies).prop_map(
        |(by_runtime, by_server, services, policies)| Cluster { by_runtime, by_server, services, policies },
    )
}

fn protocol(udp: bool) -> Protocol {
    if udp { Protocol::Udp } else { Protocol::Tcp }
}

fn said(cluster: &Cluster) -> Vec<Input> {
    let mut inputs = Vec::new();
    let names = [("multi-port-app", "app"), ("curler", "curler")];
    for ((name, netns), (by_runtime, by_server)) in
        names.into_iter().zip(cluster.by_runtime.into_iter().zip(cluster.by_server))
    {
        let ports = [(9_000, Protocol::Tcp)];
        if by_runtime {
            let pod = pod(name).at(netns).label("app", "old");
            inputs.push(told("cri", pod.container("app", ContainerKind::Regular, &ports).running(true)));
        }
        if let Some((web, ready)) = by_server {
            let pod = pod(name).label("app", if web { "web" } else { "db" }).ready(ready);
            inputs.push(told("kubernetes", pod.container("app", ContainerKind::Init, &ports)));
        }
    }
    for (index, (port, udp, web)) in cluster.services.iter().enumerate() {
        let service = service(&format!("s{index}"), if *web { "web" } else { "old" });
        inputs.push(service_changed(sends(service, 80, protocol(*udp), number(*port))));
    }
    inputs.push(match &cluster.policies {
        None => Input::NetworkPolicies(Listing::Unavailable),
        Some(rules) => {
            let one = |(index, (port, more, web)): (usize, &(u16, u16, bool))| {
                let policy = for_app(policy(&format!("p{index}")), if *web { "web" } else { "old" });
                admits(policy, vec![admitted(Protocol::Tcp, Some(number(*port)), Some(port + more))])
            };
            policies(rules.iter().enumerate().map(one).collect())
        }
    });
    inputs
}

/// What the sources say about these deeds, and the sockets that are left.
fn facts(deeds: &[Deed]) -> (Vec<Input>, Vec<(u64, Protocol, u16)>) {
    let mut inputs = vec![netns(APP, "app", "10.1.0.2/24"), netns(CURLER, "curler", "10.1.0.3/24")];
    inputs.push(pods(vec![app(), pod("curler").at("curler").into()]));
    let mut open: Vec<(u64, u64, Protocol, u16)> = Vec::new();
    for (step, deed) in deeds.iter().enumerate() {
        let at = ms(2_000 + 10 * step as u64);
        match deed {
            Deed::Open { netns, port, udp } => {
                let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
                let cookie = 100 + step as u64;
                open.push((*netns, cookie, protocol, *port));
                inputs.push(opened(*netns, cookie, protocol, *port, "0.0.0.0", at));
            }
            Deed::Close { which } if !open.is_empty() => {
                let (netns, cookie, ..) = open.remove(which % open.len());
                inputs.push(Input::SocketClosed { netns: NetnsId(netns), cookie: SocketCookie(cookie), at });
            }
            Deed::Close { .. } => {}
            Deed::Scan { netns } => {
                let listed = open.iter().filter(|(n, ..)| n == netns);
                let listed: Vec<_> =
                    listed.map(|(_, cookie, protocol, port)| (*cookie, *protocol, *port)).collect();
                inputs.push(scan(*netns, at, &listed));
            }
        }
    }
    (inputs, open.into_iter().map(|(netns, _, protocol, port)| (netns, protocol, port)).collect())
}

/// All that people see, once everything has come to rest.
fn rest(inputs: Vec<Input>) -> (Vec<String>, Vec<(NetnsId, Protocol, NonZeroU16)>) {
    let mut world = World::new();
    world.now = ms(5_000);
    for input in inputs {
        world.apply(input).wait(1);
    }
    world.wait(200_000);
    let mut lines: Vec<String> = world
        .engine
        .listeners()
        .map(|l| {
            format!(
                "{:?} {:?} {:?} {:?} {} {:?}",
                l.id, l.port, l.addresses, l.opened_at, l.sockets, l.process
            )
        })
        .chain(world.engine.findings().map(|f| {
            format!(
                "{} {} {:?} {:?} {:?} {}",
                f.id,
                f.code.as_str(),
                f.pod,
                f.declaration,
                f.policy,
                f.message
            )
        }))
        .collect();
    lines.sort();
    let mut ports: Vec<_> =
        world.engine.listeners().map(|l| (l.port.netns, l.port.protocol, l.port.port)).collect();
    ports.sort_unstable();
    (lines, ports)
}

fn deeds_and_order() -> impl Strategy<Value = (Vec<Deed>, Cluster, Vec<usize>)> {
    (proptest::collection::vec(deed(), 0..30), cluster()).prop_flat_map(|(deeds, cluster)| {
        let count = facts(&deeds).0.len() + said(&cluster).len();
        (Just(deeds), Just(cluster), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_ends_in_the_same_state(
        (deeds, cluster, order) in deeds_and_order(),
        twice in any::<bool>(),
    ) {
        let (mut inputs, left) = facts(&deeds);
        inputs.extend(said(&cluster));
        let mut shuffled: Vec<Input> = order.iter().map(|index| inputs[*index].clone()).collect();
        if twice {
            shuffled.extend(inputs.clone());
        }
        let (lines, ports) = rest(inputs);
        let mut left: Vec<_> = left
            .into_iter()
            .map(|(netns, protocol, port)| (NetnsId(netns), protocol, NonZeroU16::new(port).expect("a port")))
            .collect();
        left.sort_unstable();
        left.dedup();
        prop_assert_eq!(ports, left, "the oracle: what was opened and not closed");
        prop_assert_eq!(rest(shuffled).0, lines);
    }
}
