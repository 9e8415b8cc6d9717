//! The same facts in any order, some of them twice, end in the same state.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::identity::{BootTime, NetnsId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::netns::{ForwardedPort, ForwardedPorts};
use portolan_engine::model::pod::ContainerKind::Regular;
use portolan_engine::model::pod::{Pod, ProbeHandler};
use portolan_engine::model::process::Holder;
use portolan_engine::model::traffic::{Peer, PeerDelta, Traffic, TrafficDrain};
use proptest::prelude::*;

use crate::objects::{admits_from, admitted, block, number, policy, sends, service, service_changed};
use crate::world::{
    APP, CURLER, World, call, drained, host, ip, ms, netns, netns_at, opened, peer, pod, pods, process, scan,
};

/// The netns of the pod whose ports are called. The netns and these ports stay.
const SERVER: u64 = 3;
const SERVED: [(u64, Protocol, u16); 3] = [(1, Tcp, 80), (2, Udp, 53), (3, Udp, 40_000)];
/// Another pod, the server itself, its node, an outsider.
const CALLERS: [&str; 5] = ["10.1.0.2", "10.1.0.9", "10.1.0.1", "127.0.0.1", "203.0.113.9"];

/// One event; the reports of the sources follow from it.
#[derive(Clone, Debug)]
enum Deed {
    Open {
        netns: u64,
        port: u16,
        udp: bool,
    },
    Close {
        which: usize,
    },
    Scan {
        netns: u64,
    },
    End {
        netns: u64,
    },
    Return {
        netns: u64,
    },
    Call {
        which: usize,
        caller: usize,
    },
    /// A UDP port of the server addresses somebody who answers.
    Address {
        which: usize,
        caller: usize,
    },
    /// A connection to a port without a socket, which a rule redirects to the port 80 of the server.
    Redirect {
        port: u16,
        caller: usize,
    },
    /// Connections to a port of the server that a rule forwards.
    Forward {
        port: u16,
        to: u8,
        caller: usize,
    },
    /// A scan of the server that finds this holder of its sockets.
    Hold {
        holder: usize,
    },
    Manifests {
        app: bool,
        declares: bool,
        curler: bool,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..=2_u64, 9_000..9_004_u16, any::<bool>())
            .prop_map(|(netns, port, udp)| Deed::Open { netns, port, udp }),
        3 => any::<usize>().prop_map(|which| Deed::Close { which }),
        1 => (1..=2_u64).prop_map(|netns| Deed::Scan { netns }),
        1 => (1..=2_u64).prop_map(|netns| Deed::End { netns }),
        1 => (1..=2_u64).prop_map(|netns| Deed::Return { netns }),
        2 => (0..SERVED.len(), 0..CALLERS.len()).prop_map(|(which, caller)| Deed::Call { which, caller }),
        1 => (1..SERVED.len(), 0..CALLERS.len()).prop_map(|(which, caller)| Deed::Address { which, caller }),
        1 => (7_000..7_002_u16, 0..CALLERS.len()).prop_map(|(port, caller)| Deed::Redirect { port, caller }),
        1 => (7_100..7_102_u16, 1..4_u8, 0..CALLERS.len())
            .prop_map(|(port, to, caller)| Deed::Forward { port, to, caller }),
        1 => (0..4_usize).prop_map(|holder| Deed::Hold { holder }),
        1 => any::<(bool, bool, bool)>()
            .prop_map(|(app, declares, curler)| Deed::Manifests { app, declares, curler }),
    ]
}

/// What explains the called ports of the server.
#[derive(Clone, Copy, Debug, Default)]
struct Explained {
    /// True if a probe calls TCP 80.
    probe: bool,
    /// True if a Service sends to each called port.
    service: bool,
    /// True if a policy admits TCP 80 from the other pod, from the first outsiders and not from the server.
    policy: bool,
}

fn explained() -> impl Strategy<Value = Explained> {
    any::<(bool, bool, bool)>().prop_map(|(probe, service, policy)| Explained { probe, service, policy })
}

impl Explained {
    /// The objects that explain the ports, each reported once.
    fn inputs(self) -> Vec<Input> {
        let served = SERVED.into_iter().zip(1..);
        let service = served.fold(service("server", "server"), |service, ((_, protocol, port), entry)| {
            sends(service, entry, protocol, number(port))
        });
        let peers = vec![block("10.1.0.0/30", &["10.1.0.3/32"]), block("203.0.113.0/28", &[])];
        let ports = vec![admitted(Tcp, Some(number(80)), None)];
        let policy = admits_from(policy("server"), ports, peers);
        let service = self.service.then(|| service_changed(service));
        let policy = self.policy.then(|| Input::NetworkPolicies(Listing::Changed(Box::new(policy))));
        service.into_iter().chain(policy).collect()
    }
}

fn manifests(app: bool, declares: bool, curler: bool, explained: Explained) -> Input {
    let ports = if declares { &[(8080, Tcp), (9_000, Tcp)][..] } else { &[(8080, Tcp)][..] };
    let server = pod("server").at("server").label("app", "server").container("server", Regular, &[]);
    let server = if explained.probe { server.probe(ProbeHandler::Liveness, number(80)) } else { server };
    let mut all: Vec<Pod> = vec![server.into()];
    all.extend(app.then(|| pod("app").at("app").container("app", Regular, ports).into()));
    all.extend(curler.then(|| pod("curler").at("curler").into()));
    pods(all)
}

/// Reports of the sources about these events, and the sockets that stay open.
#[derive(Default)]
struct Told {
    inputs: Vec<Input>,
    open: Vec<(u64, u64, Protocol, u16)>,
    ended: Vec<u64>,
    /// Ports of the server that were called, and those that addressed somebody.
    called: Vec<u16>,
    addressed: Vec<u16>,
    /// Ports of the server that only a rule leads to.
    led: Vec<u16>,
    explained: Explained,
}

impl Told {
    fn of(deeds: &[Deed], explained: Explained) -> Self {
        let mut told = Self { explained, ..Self::default() };
        told.inputs.extend([
            host(),
            netns(APP, "app", "10.1.0.2/24"),
            netns(CURLER, "curler", "10.1.0.3/24"),
        ]);
        told.inputs.extend([netns(SERVER, "server", "10.1.0.9/24"), manifests(true, false, true, explained)]);
        told.inputs.extend(explained.inputs());
        for (cookie, protocol, port) in SERVED {
            told.open.push((SERVER, cookie, protocol, port));
            told.inputs.push(opened(SERVER, cookie, protocol, port, "0.0.0.0", ms(1_000)));
        }
        for (step, deed) in deeds.iter().enumerate() {
            told.take(deed, 100 + step as u64, ms(2_000 + 10 * step as u64));
        }
        told
    }

    fn take(&mut self, deed: &Deed, cookie: u64, at: BootTime) {
        let input = match deed {
            Deed::Open { netns, port, udp } if !self.ended.contains(netns) => {
                let protocol = if *udp { Udp } else { Tcp };
                self.open.push((*netns, cookie, protocol, *port));
                opened(*netns, cookie, protocol, *port, "0.0.0.0", at)
            }
            Deed::Close { which } if self.open.len() > SERVED.len() => {
                let others = self.open.len() - SERVED.len();
                let (netns, cookie, ..) = self.open.remove(SERVED.len() + which % others);
                Input::SocketClosed { netns: NetnsId(netns), cookie: SocketCookie(cookie), at }
            }
            Deed::Scan { netns } if !self.ended.contains(netns) => {
                let listed = self.open.iter().filter(|(n, ..)| n == netns);
                let listed: Vec<_> =
                    listed.map(|(_, cookie, protocol, port)| (*cookie, *protocol, *port)).collect();
                scan(*netns, at, &listed)
            }
            Deed::End { netns } if !self.ended.contains(netns) => {
                self.ended.push(*netns);
                self.open.retain(|(n, ..)| n != netns);
                Input::NetnsGone { netns: NetnsId(*netns), at }
            }
            Deed::Return { netns } if self.ended.contains(netns) => {
                self.ended.retain(|n| n != netns);
                let (name, address) =
                    if *netns == APP { ("app", "10.1.0.2/24") } else { ("curler", "10.1.0.3/24") };
                netns_at(*netns, name, address, at)
            }
            Deed::Manifests { app, declares, curler } => manifests(*app, *declares, *curler, self.explained),
            deed => match self.at_server(deed, at) {
                Some(input) => input,
                None => return,
            },
        };
        self.inputs.push(input);
    }

    /// What happens at the server, whose sockets stay.
    fn at_server(&mut self, deed: &Deed, at: BootTime) -> Option<Input> {
        let input = match deed {
            Deed::Call { which, caller } => {
                let (_, protocol, port) = SERVED.get(*which)?;
                let caller = CALLERS.get(*caller)?;
                self.called.push(*port);
                call(SERVER, *protocol, *port, caller, 1, at)
            }
            Deed::Address { which, caller } => {
                let (_, protocol, port) = SERVED.get(*which)?;
                let caller = CALLERS.get(*caller)?;
                self.addressed.push(*port);
                drain(
                    *protocol,
                    *port,
                    PeerDelta { addressed_first: true, packets: 1, ..peer(caller, at) },
                    at,
                )
            }
            Deed::Redirect { port, caller } => {
                let caller = CALLERS.get(*caller)?;
                self.led.push(*port);
                let accepted_by = NonZeroU16::new(80);
                drain(Tcp, *port, PeerDelta { connections: 1, accepted_by, ..peer(caller, at) }, at)
            }
            Deed::Forward { port, to, caller } => {
                let caller = CALLERS.get(*caller)?;
                self.led.push(*port);
                let of = crate::world::port(SERVER, Tcp, *port);
                let to = (ip(&format!("172.17.0.{to}")), 80);
                let ports = vec![ForwardedPort { port: of, to, callers: vec![(ip(caller), 1)] }];
                Input::Forwarded(ForwardedPorts { netns: NetnsId(SERVER), at, ports })
            }
            Deed::Hold { holder } => hold(*holder, at),
            _ => return None,
        };
        Some(input)
    }
}

/// Lists of all pods of one source. The lists keep their order among the other facts.
fn reorder(inputs: &[Input], order: &[usize]) -> Vec<Input> {
    let mut lists = inputs.iter().filter(|input| matches!(input, Input::Pods { .. }));
    let shuffled = order.iter().filter_map(|index| match inputs.get(*index)? {
        Input::Pods { .. } => lists.next().cloned(),
        other => Some(other.clone()),
    });
    shuffled.collect()
}

/// A scan of the server that finds this holder of its sockets.
fn hold(holder: usize, at: BootTime) -> Input {
    let mut input = scan(SERVER, at, &SERVED);
    if let Input::NetnsScanned(scan) = &mut input {
        for socket in &mut scan.sockets {
            socket.holder = match holder {
                0 => Holder::Unknown,
                1 => Holder::Nobody,
                2 => Holder::Kernel,
                _ => Holder::Process(process("server", None)),
            };
        }
    }
    input
}

/// A drain of one peer of a port of the server.
fn drain(protocol: Protocol, number: u16, peer: PeerDelta, at: BootTime) -> Input {
    let ports = BTreeMap::from([(crate::world::port(SERVER, protocol, number), drained(vec![peer]))]);
    Input::Traffic(TrafficDrain { at, ports })
}

/// Who called how often, and through what.
fn callers(traffic: &Traffic) -> Vec<String> {
    let line = |peer: &Peer| {
        let via = peer.via.as_ref().map(|via| (via.kind, via.address, via.port));
        format!("{} {} {} {via:?}", peer.address, peer.connections, peer.packets)
    };
    traffic.peers.iter().map(line).collect()
}

/// Everything that reports show, after every deadline has passed.
fn rest(inputs: Vec<Input>) -> (Vec<String>, Vec<(NetnsId, Protocol, NonZeroU16)>) {
    let mut world = World::new();
    // Everything happened a moment ago.
    world.now = ms(2_300);
    for input in inputs {
        world.apply(input).wait(1);
    }
    world.wait(200_000);
    let mut lines: Vec<String> = world
        .engine
        .listeners()
        .map(|l| {
            format!(
                "{:?} {:?} {:?} {:?} {} {:?} {:?} {:?} {} {} {} {:?}",
                l.id,
                l.port,
                l.addresses,
                l.opened_at,
                l.sockets,
                l.served_by,
                l.process,
                l.forwarded_to,
                l.unproven,
                l.traffic.connections,
                l.traffic.packets,
                callers(&l.traffic)
            )
        })
        .chain(world.engine.findings().map(|f| {
            let since = f.listener.as_ref().map(|_| f.first_seen);
            format!("{} {} {:?} {since:?}", f.id, f.code.as_str(), f.pod)
        }))
        .collect();
    lines.push(format!(
        "{} netns, {} remembered",
        world.engine.counts().netns,
        world.engine.remembered_netns()
    ));
    lines.sort();
    let mut ports: Vec<_> =
        world.engine.listeners().map(|l| (l.port.netns, l.port.protocol, l.port.port)).collect();
    ports.sort_unstable();
    (lines, ports)
}

fn deeds_and_order() -> impl Strategy<Value = (Vec<Deed>, Explained, Vec<usize>)> {
    (proptest::collection::vec(deed(), 0..30), explained()).prop_flat_map(|(deeds, explained)| {
        let count = Told::of(&deeds, explained).inputs.len();
        (Just(deeds), Just(explained), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_ends_in_the_same_state((deeds, explained, order) in deeds_and_order(), twice in any::<bool>()) {
        let Told { inputs, open, called, addressed, led, .. } = Told::of(&deeds, explained);
        let mut shuffled = reorder(&inputs, &order);
        if twice {
            // A drain is reported only once, because drained counters are gone.
            shuffled.extend(inputs.iter().filter(|input| !matches!(input, Input::Traffic(_) | Input::Forwarded(_))).cloned());
        }
        let (lines, ports) = rest(inputs);
        let is_clients =
            |port: &u16| !explained.service && addressed.contains(port) && !called.contains(port);
        let led = led.into_iter().map(|port| (SERVER, 0, Tcp, port));
        let mut left: Vec<_> = open
            .into_iter()
            .filter(|(netns, _, _, port)| *netns != SERVER || !is_clients(port))
            .chain(led)
            .map(|(netns, _, protocol, port)| (NetnsId(netns), protocol, NonZeroU16::new(port).expect("a port")))
            .collect();
        left.sort_unstable();
        left.dedup();
        prop_assert_eq!(ports, left, "the oracle: what was opened and not closed");
        prop_assert_eq!(rest(shuffled).0, lines);
    }

    #[test]
    fn time_may_stand_or_jump(step in 0..u64::MAX) {
        let mut world = World::demo();
        world.listen(APP, 10, 9090);
        world.now = BootTime(step);
        world.close(APP, 10);
        world.engine.tick(BootTime(u64::MAX));
    }
}
