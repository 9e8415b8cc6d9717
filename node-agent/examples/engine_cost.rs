//! Measures the cost of one input of the engine with 10, 100 and 1,000 pods, and the memory of what is kept beside the engine of
//! each finding. Prints both as JSON. `cargo xtask bench` runs it.
#![expect(clippy::expect_used, reason = "numbers that are not 0")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use portolan::pipeline::finding_index::{FindingIndex, MAX_PORTS};
use portolan::source::clock;
use portolan_engine::Engine;
use portolan_engine::model::finding::Finding;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::network_policy::{IngressRule, LabelSelector, NetworkPolicy, PolicyPeer};
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{Container, ContainerKind, DeclaredPort, Pod, PodSource, PortRef};
use portolan_engine::model::process::Process;
use portolan_engine::model::service::{Service, ServiceKind, ServicePort};
use portolan_engine::model::socket::OpenedSocket;
use portolan_engine::model::traffic::{PeerDelta, PortDelta, TrafficDrain};

/// Number of Services per pod of the node, as with 250 pods in a cluster with 2,000 Services. Most select pods of other
/// nodes.
const SERVICES_PER_POD: usize = 8;
/// Number of pods that share their labels and a Service.
const REPLICAS: usize = 3;
const SAMPLES: usize = 4_000;
/// Ports of each pod where many are counted per minute. Fewer than make a storm.
const PORTS_PER_POD: usize = 40;
const SIZES: [usize; 3] = [10, 100, 1_000];

/// Cost of one kind of input.
#[derive(serde::Serialize)]
struct Cost {
    what: &'static str,
    /// Median nanoseconds of one input about one of the same ten pods, for each of `SIZES`. Shows whether the cost grows.
    median_ns: Vec<u64>,
    /// Median nanoseconds of one input about every pod in turn, with the last of `SIZES`. Mostly cache misses.
    cold_ns: u64,
}

/// What is printed.
#[derive(serde::Serialize)]
struct Measured {
    inputs: Vec<Cost>,
    /// Bytes by which resident memory grows when the calls per minute of `MAX_PORTS` ports are kept.
    minutes_bytes: u64,
    ports: usize,
}

/// Makes an input about a pod, for a round.
type Make = fn(usize, usize) -> Input;

fn main() -> anyhow::Result<()> {
    let kinds: [(&str, Make); 7] = [
        ("socket opened or closed", opened_or_closed),
        ("traffic of one port", |pod, _| traffic(pod)),
        ("pod changed its readiness", pod_changed),
        ("pod changed a label", pod_relabelled),
        ("service changed", service_changed),
        ("policy changed", policy_changed),
        ("pod gone or back", gone_or_back),
    ];
    // First, while nothing is free that was resident before.
    let minutes_bytes = minutes_bytes()?;
    let mut costs: Vec<Cost> =
        kinds.iter().map(|(what, _)| Cost { what, median_ns: Vec::new(), cold_ns: 0 }).collect();
    for size in SIZES {
        let mut engine = node(size);
        for ((_, make), cost) in kinds.iter().zip(&mut costs) {
            cost.cold_ns = median(&mut engine, size, 0, *make);
            // Later rounds, as an engine skips an input that changes nothing.
            cost.median_ns.push(median(&mut engine, 10, SAMPLES, *make));
        }
    }
    let measured = Measured { inputs: costs, minutes_bytes, ports: MAX_PORTS };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Keeps the minutes of as many findings as are kept at most, each with calls in an earlier minute.
fn minutes_bytes() -> anyhow::Result<u64> {
    let mut engine = node(1);
    for pod in 0..MAX_PORTS.div_ceil(PORTS_PER_POD) {
        engine.apply(netns(pod), at(1));
        engine.apply(Input::PodChanged { source: PodSource::Runtime, pod: Box::new(by_runtime(pod)) }, at(1));
        for number in 0..PORTS_PER_POD {
            engine.apply(opened(pod, 2 + number as u64, 10_000 + u16::try_from(number)?), at(1));
        }
    }
    while let Some(due) = engine.next_deadline().filter(|due| *due < at(90_000)) {
        engine.tick(due);
    }
    let ports = engine.findings().filter(|finding| finding.listener.is_some());
    let found: Vec<Arc<Finding>> = ports.take(MAX_PORTS).collect();
    let called = found.iter().filter_map(|finding| Some(finding.listener.as_ref()?.port));
    let delta = PortDelta { connections: 1, ..PortDelta::default() };
    let ports = called.map(|port| (port, delta.clone())).collect();
    engine.apply(Input::Traffic(TrafficDrain { at: at(90_001), ports }), at(90_001));
    let mut index = FindingIndex::default();
    let before = resident_bytes()?;
    for (number, finding) in found.iter().enumerate() {
        index.note(finding, &format!("{number:032x}"), at(90_002), 1);
    }
    index.sample(&engine, 1);
    index.sample(&engine, 2);
    let grown = resident_bytes()?.saturating_sub(before);
    anyhow::ensure!(index.wanted() == MAX_PORTS, "{} ports are counted", index.wanted());
    Ok(grown)
}

fn resident_bytes() -> anyhow::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split_whitespace().nth(1).context("no resident pages")?.parse()?;
    Ok(pages * u64::try_from(rustix::param::page_size())?)
}

/// Inputs go round over `size` pods, beginning with round number `first`.
fn median(engine: &mut Engine, size: usize, first: usize, make: Make) -> u64 {
    let mut times: Vec<u64> = (0..SAMPLES)
        .map(|sample| {
            // A stride that meets every pod in an order of its own.
            let input = make(sample * 7 % size, first + sample / size);
            let now = at(100_000 + (first + sample) as u64);
            let before = clock::now();
            let changes = engine.apply(input, now);
            let after = clock::now();
            drop(changes);
            u64::try_from(after.since(before).as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    times.get(SAMPLES / 2).copied().unwrap_or_default()
}

/// A node on which every pod is known to runtime and API server, serves a declared and an undeclared port, and was called.
fn node(size: usize) -> Engine {
    let mut engine = Engine::new(EngineOptions::default());
    let services = (0..size * SERVICES_PER_POD).map(|index| service(index, 80)).collect();
    let mut inputs = vec![Input::Services(Listing::All(services))];
    let policies = (0..size).map(|index| policy(index, Vec::new())).collect();
    inputs.push(Input::NetworkPolicies(Listing::All(policies)));
    for pod in 0..size {
        inputs.push(netns(pod));
        inputs.push(Input::PodChanged { source: PodSource::Runtime, pod: Box::new(by_runtime(pod)) });
        inputs.push(pod_changed(pod, 0));
        inputs.push(opened(pod, 0, 8_080));
        inputs.push(opened(pod, 1, 9_090));
        inputs.push(traffic(pod));
    }
    for input in inputs {
        engine.apply(input, at(1));
    }
    while let Some(due) = engine.next_deadline().filter(|due| *due < at(90_000)) {
        engine.tick(due);
    }
    engine
}

fn at(millis: u64) -> BootTime {
    BootTime(0).after(Duration::from_millis(millis))
}

fn address(pod: usize) -> IpAddr {
    let [.., high, low] = pod.to_be_bytes();
    Ipv4Addr::new(10, 1, high, low).into()
}

fn uid(pod: usize) -> String {
    format!("00000000-0000-4000-8000-{pod:012x}")
}

fn netns_id(pod: usize) -> NetnsId {
    NetnsId(1_000 + pod as u64)
}

fn port(pod: usize, number: u16) -> PortId {
    let port = NonZeroU16::new(number).expect("a port");
    PortId { netns: netns_id(pod), protocol: Protocol::Tcp, port }
}

fn netns(pod: usize) -> Input {
    let facts = NetnsFacts {
        netns: netns_id(pod),
        inode: 4_026_530_000 + pod as u64,
        paths: vec![format!("/run/netns/cni-{pod}")],
        is_host: false,
        addresses: vec![ipnet::IpNet::new(address(pod), 24).expect("a prefix")],
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    };
    Input::NetnsSeen { facts, at: at(1) }
}

fn labels(pod: usize) -> BTreeMap<String, String> {
    let label = |key: &str, value: String| (key.to_owned(), value);
    BTreeMap::from([
        label("app.kubernetes.io/name", format!("app-{}", pod / REPLICAS)),
        label("app.kubernetes.io/instance", format!("release-{}", pod / 10)),
        label("app.kubernetes.io/part-of", "shop".to_owned()),
        label("app.kubernetes.io/managed-by", "Helm".to_owned()),
        label("pod-template-hash", format!("{:08x}", pod / REPLICAS)),
        label("topology.kubernetes.io/zone", "zone-a".to_owned()),
    ])
}

fn container(name: &str, pod: usize, number: u16, id: bool) -> Container {
    let port = NonZeroU16::new(number).expect("a port");
    Container {
        name: name.to_owned(),
        id: if id { format!("{pod:032x}{number:032x}") } else { String::new() },
        image: format!("registry.example/shop/{name}:1.2.3"),
        kind: ContainerKind::Regular,
        running: Some(true),
        ports: vec![DeclaredPort {
            name: Some("http".to_owned()),
            port,
            protocol: Protocol::Tcp,
            host_port: None,
        }],
        ..Container::default()
    }
}

fn by_runtime(pod: usize) -> Pod {
    Pod {
        uid: PodUid(uid(pod)),
        namespace: "shop".to_owned(),
        name: format!("app-{pod}"),
        labels: labels(pod),
        containers: vec![container("app", pod, 8_080, true), container("proxy", pod, 15_001, true)],
        addresses: vec![address(pod)],
        netns_path: Some(format!("/run/netns/cni-{pod}")),
        ..Pod::default()
    }
}

fn pod_changed(pod: usize, round: usize) -> Input {
    let mut changed = by_runtime(pod);
    changed.netns_path = None;
    changed.ready = Some(round.is_multiple_of(2));
    changed.annotations.insert("prometheus.io/port".to_owned(), "9100".to_owned());
    Input::PodChanged { source: PodSource::ApiServer, pod: Box::new(changed) }
}

fn pod_relabelled(pod: usize, round: usize) -> Input {
    let mut changed = by_runtime(pod);
    changed.netns_path = None;
    changed.labels.insert("release".to_owned(), format!("{}", round % 2));
    Input::PodChanged { source: PodSource::ApiServer, pod: Box::new(changed) }
}

fn gone_or_back(pod: usize, round: usize) -> Input {
    if round.is_multiple_of(2) {
        Input::PodGone { source: PodSource::Runtime, uid: PodUid(uid(pod)) }
    } else {
        Input::PodChanged { source: PodSource::Runtime, pod: Box::new(by_runtime(pod)) }
    }
}

fn service(index: usize, number: u16) -> Service {
    let local = index.is_multiple_of(SERVICES_PER_POD * REPLICAS);
    let name =
        if local { format!("app-{}", index / SERVICES_PER_POD / REPLICAS) } else { format!("far-{index}") };
    Service {
        namespace: "shop".to_owned(),
        name: format!("service-{index}"),
        kind: ServiceKind::ClusterIp,
        selector: BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), name),
            ("app.kubernetes.io/part-of".to_owned(), "shop".to_owned()),
        ]),
        ports: vec![ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: NonZeroU16::new(number).expect("a port"),
            target: PortRef::Name("http".to_owned()),
            node_port: None,
        }],
        addresses: vec![cluster_address(index)],
        outside: None,
        ip_families: (false, false),
        publishes_not_ready: false,
    }
}

/// Cluster IP of a Service.
fn cluster_address(index: usize) -> IpAddr {
    let [.., high, low] = index.to_be_bytes();
    Ipv4Addr::new(10, 96, high, low).into()
}

fn service_changed(pod: usize, round: usize) -> Input {
    let number = u16::try_from(1 + (round * REPLICAS + pod % REPLICAS) % 60_000).unwrap_or(1);
    Input::Services(Listing::Changed(Box::new(service(pod / REPLICAS * REPLICAS * SERVICES_PER_POD, number))))
}

fn policy(index: usize, ingress: Vec<IngressRule>) -> NetworkPolicy {
    let labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), format!("app-{index}"))]);
    NetworkPolicy {
        namespace: "shop".to_owned(),
        name: format!("policy-{index}"),
        selector: LabelSelector { labels, expressions: Vec::new() },
        ingress,
    }
}

fn policy_changed(pod: usize, round: usize) -> Input {
    let number = u32::try_from(round * REPLICAS + pod % REPLICAS).unwrap_or(0);
    let cidr = IpNet::from(IpAddr::V4(Ipv4Addr::from(number)));
    let rule =
        IngressRule { ports: Vec::new(), peers: vec![PolicyPeer::IpBlock { cidr, except: Vec::new() }] };
    Input::NetworkPolicies(Listing::Changed(Box::new(policy(pod / REPLICAS, vec![rule]))))
}

fn opened(pod: usize, cookie: u64, number: u16) -> Input {
    Input::SocketOpened(OpenedSocket {
        cookie: SocketCookie(pod as u64 * 1_000_000 + cookie),
        port: port(pod, number),
        address: Ipv4Addr::UNSPECIFIED.into(),
        v6_only: None,
        on_loopback: false,
        process: Some(Process {
            pid: 4_242,
            name: "python3".to_owned(),
            executable: Some("/usr/bin/python3.11".to_owned()),
            cgroup: Some(format!(
                "/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{pod:064x}.scope",
                uid(pod).replace('-', "_")
            )),
        }),
        at: at(2),
    })
}

/// Opens and closes a socket in turn, each time another socket of the same port.
fn opened_or_closed(pod: usize, round: usize) -> Input {
    let (number, at) = (40_000 + round as u64 / 2, at(3 + round as u64));
    let mut input = opened(pod, number, 9_191);
    if let Input::SocketOpened(socket) = &mut input {
        socket.at = at;
    }
    if round.is_multiple_of(2) {
        return input;
    }
    let cookie = SocketCookie(pod as u64 * 1_000_000 + number);
    Input::SocketClosed { netns: netns_id(pod), cookie, at }
}

fn traffic(pod: usize) -> Input {
    let peer = PeerDelta {
        address: Ipv4Addr::new(10, 1, 0, 1).into(),
        first_seen: at(2),
        attempts: 1,
        connections: 1,
        packets: 5,
        bytes: 500,
        addressed_first: false,
        accepted_by: None,
    };
    let delta = PortDelta {
        attempts: 1,
        connections: 1,
        packets: 5,
        bytes: 500,
        peers_created: 1,
        peers: vec![peer],
    };
    Input::Traffic(TrafficDrain { at: at(4), ports: BTreeMap::from([(port(pod, 9_090), delta)]) })
}
