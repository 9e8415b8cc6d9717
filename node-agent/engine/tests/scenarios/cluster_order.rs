//! Reports of runtime and API server about pods, Services and policies, mixed with sockets that open and close and with
//! calls: any order ends in the same state.

use std::num::NonZeroU16;

use portolan_engine::model::identity::{BootTime, NetnsId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::network_policy::PolicyPeer;
use portolan_engine::model::pod::{ContainerKind, ProbeHandler};
use proptest::prelude::*;

use crate::objects::{
    admits_from, admitted, block, for_app, labelled, number, pods_with, policies, policy, sends, service,
    service_changed,
};
use crate::world::{APP, CURLER, World, app, call, ms, netns, opened, pod, pods, scan, told};

/// One event; the reports of the sources follow from it.
#[derive(Clone, Debug)]
enum Deed {
    Open { netns: u64, port: u16, udp: bool },
    Close { which: usize },
    Scan { netns: u64 },
    Call { port: u16, caller: usize },
}

/// When the sources begin to report. Calls happen now, so that their origins may still turn out.
const NOW: BootTime = BootTime(5_000_000_000);
/// Ports of the app that stay open and are called.
const CALLED: std::ops::Range<u16> = 9_100..9_102;
/// The other pod, a pod that nobody knows, the app itself, two outsiders.
const CALLERS: [&str; 5] = ["10.1.0.3", "10.1.0.77", "10.1.0.2", "203.0.113.9", "198.51.100.1"];

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..=2_u64, 9_000..9_004_u16, any::<bool>())
            .prop_map(|(netns, port, udp)| Deed::Open { netns, port, udp }),
        3 => any::<usize>().prop_map(|which| Deed::Close { which }),
        1 => (1..=2_u64).prop_map(|netns| Deed::Scan { netns }),
        3 => (CALLED, 0..CALLERS.len()).prop_map(|(port, caller)| Deed::Call { port, caller }),
    ]
}

/// Reports of the API server and the runtime about the two pods, their Services and policies. Each reports each object
/// once, because a later report of the same object replaces the earlier one and their order matters.
#[derive(Clone, Debug)]
struct Cluster {
    by_runtime: [bool; 2],
    by_server: [Option<(bool, bool)>; 2],
    services: Vec<(u16, bool, bool)>,
    policies: Option<Vec<(u16, u16, bool, usize)>>,
    /// True if a probe calls the first of the called ports.
    probed: bool,
}

/// A port that an object may name.
fn some_port() -> impl Strategy<Value = u16> {
    prop_oneof![9_000..9_004_u16, CALLED]
}

/// The peers of a policy.
fn peers(which: usize) -> Vec<PolicyPeer> {
    let namespaces = Some(labelled(&[("kubernetes.io/metadata.name", "demo")]));
    match which {
        0 => Vec::new(),
        1 => vec![pods_with(&[("app", "web")])],
        2 => vec![block("10.1.0.0/24", &["10.1.0.64/26"])],
        3 => vec![block("203.0.113.0/24", &[]), PolicyPeer::Pods { namespaces, pods: None }],
        _ => vec![PolicyPeer::Unknown],
    }
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let by_server = proptest::array::uniform2(proptest::option::of((any::<bool>(), any::<bool>())));
    let services = proptest::collection::vec((some_port(), any::<bool>(), any::<bool>()), 0..4);
    let rules = proptest::collection::vec((some_port(), 0..3_u16, any::<bool>(), 0..5_usize), 0..3);
    let policies = proptest::option::of(rules);
    (any::<[bool; 2]>(), by_server, services, policies, any::<bool>()).prop_map(
        |(by_runtime, by_server, services, policies, probed)| Cluster {
            by_runtime,
            by_server,
            services,
            policies,
            probed,
        },
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
            let pod = pod.container("app", ContainerKind::Init, &ports);
            let probed = cluster.probed && netns == "app";
            let pod = if probed { pod.probe(ProbeHandler::Liveness, number(CALLED.start)) } else { pod };
            inputs.push(told("kubernetes", pod));
        }
    }
    for (index, (port, udp, web)) in cluster.services.iter().enumerate() {
        let service = service(&format!("s{index}"), if *web { "web" } else { "old" });
        inputs.push(service_changed(sends(service, 80, protocol(*udp), number(*port))));
    }
    inputs.push(match &cluster.policies {
        None => Input::NetworkPolicies(Listing::Unavailable),
        Some(rules) => {
            let one = |(index, (port, more, web, from)): (usize, &(u16, u16, bool, usize))| {
                let policy = for_app(policy(&format!("p{index}")), if *web { "web" } else { "old" });
                let ports = vec![admitted(Protocol::Tcp, Some(number(*port)), Some(port + more))];
                admits_from(policy, ports, peers(*from))
            };
            policies(rules.iter().enumerate().map(one).collect())
        }
    });
    inputs
}

/// Reports of the sources about these events, and the sockets that stay open.
fn facts(deeds: &[Deed]) -> (Vec<Input>, Vec<(u64, Protocol, u16)>) {
    let mut inputs = vec![netns(APP, "app", "10.1.0.2/24"), netns(CURLER, "curler", "10.1.0.3/24")];
    inputs.push(pods(vec![app(), pod("curler").at("curler").into()]));
    let mut open: Vec<(u64, u64, Protocol, u16)> = Vec::new();
    for (cookie, port) in (1..).zip(CALLED) {
        open.push((APP, cookie, Protocol::Tcp, port));
        inputs.push(opened(APP, cookie, Protocol::Tcp, port, "0.0.0.0", ms(1_000)));
    }
    let stay = open.len();
    for (step, deed) in deeds.iter().enumerate() {
        let at = ms(2_000 + 10 * step as u64);
        match deed {
            Deed::Open { netns, port, udp } => {
                let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
                let cookie = 100 + step as u64;
                open.push((*netns, cookie, protocol, *port));
                inputs.push(opened(*netns, cookie, protocol, *port, "0.0.0.0", at));
            }
            Deed::Close { which } if open.len() > stay => {
                let (netns, cookie, ..) = open.remove(stay + which % (open.len() - stay));
                inputs.push(Input::SocketClosed { netns: NetnsId(netns), cookie: SocketCookie(cookie), at });
            }
            Deed::Close { .. } => {}
            Deed::Call { port, caller } => {
                let caller = CALLERS.get(*caller);
                inputs.extend(caller.map(|caller| call(APP, Protocol::Tcp, *port, caller, 1, NOW)));
            }
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

/// Everything that reports show, after every deadline has passed.
fn rest(inputs: Vec<Input>) -> (Vec<String>, Vec<(NetnsId, Protocol, NonZeroU16)>) {
    let mut world = World::new();
    world.now = NOW;
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
            // A drain is reported only once, because drained counters are gone.
            shuffled.extend(inputs.iter().filter(|input| !matches!(input, Input::Traffic(_))).cloned());
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
