//! A finding is never lost while its port is open, and never outlives it: whichever order sockets, netns, pods and their
//! reports come and go in, and whichever of the reports is missing until the next scan.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::finding::Finding;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol::{Tcp, Udp};
use portolan_engine::model::identity::{BootTime, NetnsId, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::ContainerKind::Regular;
use proptest::prelude::*;

use crate::world::{World, call, gone, host, ms, netns_at, opened, pod, port, scan, told};

/// Two pods, by the name of their netns.
const PODS: [&str; 2] = ["app", "curler"];

/// Longer than the engine remembers a deleted pod.
const FORGOTTEN: u64 = 80_000;

/// Order from which on a report comes a step late.
const LATE: u8 = 225;

/// One event. Most are reported; those that are not show in the next scan.
#[derive(Clone, Debug)]
enum Deed {
    Open {
        netns: usize,
        port: u16,
        udp: bool,
        is_seen: bool,
    },
    Close {
        which: usize,
        is_seen: bool,
    },
    /// The socket serves another port from now on.
    Move {
        which: usize,
        port: u16,
    },
    Scan {
        netns: usize,
    },
    /// The netns ends, with every socket in it.
    End {
        netns: usize,
    },
    /// A netns is made at the path of a pod; an earlier one there may go on.
    Make {
        pod: usize,
    },
    Delete {
        pod: usize,
    },
    Report {
        pod: usize,
        declares: bool,
    },
    Call {
        which: usize,
    },
}

/// Deeds in a row, the order in which their reports arrive, and how long nothing happens afterwards, in milliseconds.
type Step = (Vec<(Deed, u8)>, u64);

fn deed() -> impl Strategy<Value = Deed> {
    let which = any::<usize>;
    prop_oneof![
        6 => (which(), 9_000..9_004_u16, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(netns, port, udp, is_seen)| Deed::Open { netns, port, udp, is_seen }),
        4 => (which(), prop::bool::weighted(0.8)).prop_map(|(which, is_seen)| Deed::Close { which, is_seen }),
        1 => (which(), 9_000..9_004_u16).prop_map(|(which, port)| Deed::Move { which, port }),
        2 => which().prop_map(|netns| Deed::Scan { netns }),
        1 => which().prop_map(|netns| Deed::End { netns }),
        2 => (0..PODS.len()).prop_map(|pod| Deed::Make { pod }),
        1 => (0..PODS.len()).prop_map(|pod| Deed::Delete { pod }),
        2 => (0..PODS.len(), prop::bool::weighted(0.2)).prop_map(|(pod, declares)| Deed::Report { pod, declares }),
        1 => which().prop_map(|which| Deed::Call { which }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deeds = prop::collection::vec((deed(), any::<u8>()), 1..6);
    let pause = prop_oneof![3 => Just(15_000), 1 => Just(FORGOTTEN)];
    prop::collection::vec((deeds, pause), 1..12)
}

/// What a pod's source says.
#[derive(Clone, Copy, Debug, Default)]
struct PodTruth {
    /// When it was deleted; `None`: it is reported.
    deleted_at: Option<BootTime>,
    declares: bool,
}

/// What is so, whoever reports it.
#[derive(Debug)]
struct Truth {
    sockets: BTreeMap<u64, PortId>,
    /// Living netns with the pod whose path they have, in the order in which they were made.
    netns: Vec<(u64, usize)>,
    pods: [PodTruth; 2],
    cookie: u64,
}

impl Truth {
    fn new() -> Self {
        Self { sockets: BTreeMap::new(), netns: vec![(1, 0), (2, 1)], pods: Default::default(), cookie: 100 }
    }

    fn next(&mut self) -> u64 {
        self.cookie += 1;
        self.cookie
    }

    /// One of the sockets that serve.
    fn pick(&self, which: usize) -> Option<(u64, PortId)> {
        let count = self.sockets.len().max(1);
        self.sockets.iter().nth(which % count).map(|(cookie, port)| (*cookie, *port))
    }

    fn pick_netns(&self, which: usize) -> Option<u64> {
        self.netns.get(which % self.netns.len().max(1)).map(|(netns, _)| *netns)
    }

    fn scanned(&self, netns: u64, at: BootTime) -> Input {
        let here = self.sockets.iter().filter(|(_, port)| port.netns.0 == netns);
        let listed: Vec<(u64, Protocol, u16)> =
            here.map(|(cookie, port)| (*cookie, port.protocol, port.port.get())).collect();
        scan(netns, at, &listed)
    }

    /// Does it, and returns the report.
    fn take(&mut self, deed: &Deed, at: BootTime) -> Option<Input> {
        match *deed {
            Deed::Open { netns, port: number, udp, is_seen } => {
                let (netns, cookie) = (self.pick_netns(netns)?, self.next());
                let protocol = if udp { Udp } else { Tcp };
                self.sockets.insert(cookie, port(netns, protocol, number));
                is_seen.then(|| opened(netns, cookie, protocol, number, "0.0.0.0", at))
            }
            Deed::Close { which, is_seen } => {
                let (cookie, port) = self.pick(which)?;
                self.sockets.remove(&cookie);
                let cookie = SocketCookie(cookie);
                is_seen.then_some(Input::SocketClosed { netns: port.netns, cookie, at })
            }
            Deed::Move { which, port: number } => {
                let (cookie, before) = self.pick(which)?;
                let (netns, protocol) = (before.netns.0, before.protocol);
                self.sockets.insert(cookie, port(netns, protocol, number));
                Some(opened(netns, cookie, protocol, number, "0.0.0.0", at))
            }
            Deed::Scan { netns } => Some(self.scanned(self.pick_netns(netns)?, at)),
            Deed::End { netns } => {
                let netns = self.pick_netns(netns)?;
                self.netns.retain(|(one, _)| *one != netns);
                self.sockets.retain(|_, port| port.netns.0 != netns);
                Some(Input::NetnsGone { netns: NetnsId(netns), at })
            }
            Deed::Make { pod } => {
                let netns = self.next();
                self.netns.push((netns, pod));
                Some(netns_at(netns, PODS[pod], "10.1.0.9/24", at))
            }
            Deed::Delete { pod } => {
                self.pods[pod].deleted_at = self.pods[pod].deleted_at.or(Some(at));
                Some(gone("file", &format!("uid-{}", PODS[pod])))
            }
            Deed::Report { pod, declares } => {
                self.pods[pod] = PodTruth { deleted_at: None, declares };
                Some(report(pod, declares))
            }
            Deed::Call { which } => {
                let (_, port) = self.pick(which)?;
                Some(call(port.netns.0, port.protocol, port.port.get(), "10.1.0.77", 1, at))
            }
        }
    }

    /// Returns the open ports that must have a finding, and all that may have one.
    fn expected(&self, now: BootTime) -> (BTreeSet<PortId>, BTreeSet<PortId>) {
        let open: BTreeSet<PortId> = self.sockets.values().copied().collect();
        let must = open.iter().copied().filter(|port| {
            let of_pod = self.netns.iter().find(|(netns, _)| *netns == port.netns.0).map(|(_, pod)| *pod);
            let Some(index) = of_pod else { return false };
            let is_main = self.netns.iter().rfind(|(_, pod)| *pod == index).map(|(netns, _)| *netns)
                == Some(port.netns.0);
            let pod = self.pods[index];
            match pod.deleted_at {
                // A deleted pod makes no finding until it is forgotten.
                Some(at) => now.since(at).as_millis() >= u128::from(FORGOTTEN),
                None => !is_main || !pod.declares || (port.protocol, port.port.get()) != (Tcp, 9_000),
            }
        });
        (must.collect(), open.clone())
    }
}

fn report(index: usize, declares: bool) -> Input {
    let ports = if declares { &[(9_000, Tcp)][..] } else { &[] };
    told("file", pod(PODS[index]).at(PODS[index]).container("app", Regular, ports))
}

/// Returns true if one finding stands for the ports of this pod or netns.
fn stands_for(finding: &Finding, port: PortId, world: &World) -> bool {
    let listener = world.engine.listeners().find(|listener| listener.port == port);
    let pod = listener.and_then(|listener| listener.pod.clone()).map(|pod| pod.uid);
    finding.listener.is_none()
        && match finding.code {
            FindingCode::PortStorm => finding.pod.as_ref().map(|pod| &pod.uid) == pod.as_ref(),
            FindingCode::Unattributed => pod.is_none(),
            _ => false,
        }
}

fn check(world: &World, truth: &Truth) -> Result<(), TestCaseError> {
    let (must, may) = truth.expected(world.now);
    let findings: Vec<_> = world.engine.findings().collect();
    let found: BTreeSet<PortId> = findings.iter().filter_map(|f| Some(f.listener.as_ref()?.port)).collect();
    for port in &must {
        let is_told = found.contains(port) || findings.iter().any(|f| stands_for(f, *port, world));
        prop_assert!(is_told, "{port:?} has no finding: {:?} {truth:?}", world.findings());
    }
    for port in &found {
        prop_assert!(may.contains(port), "{port:?} is closed and has a finding: {truth:?}");
    }
    let ids: BTreeSet<&str> = findings.iter().map(|finding| finding.id.as_str()).collect();
    prop_assert_eq!(ids.len(), findings.len());
    Ok(())
}

fn is_of_pod(input: &Input) -> bool {
    matches!(input, Input::PodChanged { .. } | Input::PodGone { .. })
}

/// Puts the reports into the order of their keys. Those of one pod keep theirs.
fn deliver(mut reports: Vec<(Input, u8)>) -> Vec<Input> {
    let pods: Vec<Input> =
        reports.iter().filter(|(input, _)| is_of_pod(input)).map(|(input, _)| input.clone()).collect();
    reports.sort_by_key(|(_, key)| *key);
    let mut pods = pods.into_iter();
    let next = |(input, _): (Input, u8)| if is_of_pod(&input) { pods.next() } else { Some(input) };
    reports.into_iter().filter_map(next).collect()
}

fn run(steps: &[Step], storm_ports: usize) -> Result<(), TestCaseError> {
    let mut world = World::with(EngineOptions { storm_ports, ..EngineOptions::default() });
    let mut truth = Truth::new();
    world.apply(host());
    for (index, name) in PODS.into_iter().enumerate() {
        world.apply(netns_at(1 + index as u64, name, "10.1.0.9/24", ms(500))).apply(report(index, false));
    }
    let mut late = Vec::new();
    for (deeds, pause) in steps {
        let begin = world.now;
        let mut reports = std::mem::take(&mut late);
        let mut is_blind = false;
        for (index, (deed, key)) in deeds.iter().enumerate() {
            let at = begin.after(std::time::Duration::from_millis(10 * (index as u64 + 1)));
            reports.extend(truth.take(deed, at).map(|input| (input, *key)));
            is_blind |=
                matches!(deed, Deed::Open { is_seen: false, .. } | Deed::Close { is_seen: false, .. });
        }
        world.wait(100);
        // Some reports of sockets and netns come only with those of the next step, while closed sockets are remembered.
        let (later, reports): (Vec<_>, Vec<_>) = reports
            .into_iter()
            .partition(|(input, key)| *key >= LATE && *pause < FORGOTTEN && !is_of_pod(input));
        late.extend(later.into_iter().map(|(input, key)| (input, key - LATE)));
        for input in deliver(reports) {
            world.apply(input).wait(1);
        }
        if is_blind {
            let at = world.now;
            let scans: Vec<Input> = truth.netns.iter().map(|(netns, _)| truth.scanned(*netns, at)).collect();
            for scan in scans {
                world.apply(scan);
            }
        }
        world.wait(*pause);
        if late.is_empty() {
            check(&world, &truth)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_open_undeclared_port_has_a_finding_and_no_other_has(
        steps in steps(),
        storm_ports in prop_oneof![Just(64_usize), Just(2_usize)],
    ) {
        run(&steps, storm_ports)?;
    }
}
