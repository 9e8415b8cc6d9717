//! Builders for scenarios, and their common check: the open findings and listeners as short lines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use portolan_engine::Engine;
use portolan_engine::model::change::Change;
use portolan_engine::model::finding::FindingState;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listener::ListenerState;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{
    Container, ContainerKind, DeclaredPort, Pod, PodSource, PortRef, ProbeHandler, ProbePort,
};
use portolan_engine::model::process::{Holder, Process};
use portolan_engine::model::socket::{NetnsScan, OpenedSocket, ScannedSocket};
use portolan_engine::model::traffic::{PeerDelta, PortDelta, TrafficDrain};

pub const APP: u64 = 1;
pub const CURLER: u64 = 2;
pub const HOST: u64 = 9;

/// A node at a point in time, in milliseconds since boot.
pub struct World {
    pub engine: Engine,
    pub now: BootTime,
    pub said: Vec<Change>,
}

impl World {
    pub fn new() -> Self {
        Self::with(EngineOptions::default())
    }

    pub fn with(options: EngineOptions) -> Self {
        Self { engine: Engine::new(options), now: ms(1_000), said: Vec::new() }
    }

    /// The example that started the project: a pod that declares 8080 only, and a pod that calls it.
    pub fn demo() -> Self {
        let mut world = Self::new();
        world.apply(host());
        world.apply(netns(APP, "app", "10.1.0.2/24"));
        world.apply(netns(CURLER, "curler", "10.1.0.3/24"));
        world.apply(pods(vec![app(), pod("curler").at("curler").into()]));
        world
    }

    pub fn apply(&mut self, input: Input) -> &mut Self {
        let changes = self.engine.apply(input, self.now);
        self.said.extend(changes);
        self
    }

    /// Lets time pass from deadline to deadline, as the agent does.
    pub fn wait(&mut self, millis: u64) -> &mut Self {
        let end = self.now.after(Duration::from_millis(millis));
        while let Some(next) = self.engine.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let changes = self.engine.tick(self.now);
            self.said.extend(changes);
        }
        self.now = end;
        self
    }

    /// The only open finding.
    pub fn finding(&self) -> std::sync::Arc<portolan_engine::model::finding::Finding> {
        let mut findings = self.engine.findings();
        let first = findings.next().expect("a finding");
        assert!(findings.next().is_none(), "more than one: {:?}", self.findings());
        first
    }

    /// The first open listener.
    pub fn listener(&self) -> std::sync::Arc<portolan_engine::model::listener::Listener> {
        self.engine.listeners().next().expect("a listener")
    }

    pub fn listen_in(&mut self, cgroup: &str, netns: u64, cookie: u64, port: u16) -> &mut Self {
        self.apply(opened_in(cgroup, netns, cookie, port, self.now))
    }

    pub fn listen(&mut self, netns: u64, cookie: u64, port: u16) -> &mut Self {
        self.apply(opened(netns, cookie, Protocol::Tcp, port, "0.0.0.0", self.now))
    }

    pub fn close(&mut self, netns: u64, cookie: u64) -> &mut Self {
        let at = self.now;
        self.apply(Input::SocketClosed { netns: NetnsId(netns), cookie: SocketCookie(cookie), at })
    }

    pub fn calls(&mut self, netns: u64, protocol: Protocol, port: u16, peer: &str, count: u64) -> &mut Self {
        self.apply(call(netns, protocol, port, peer, count, self.now))
    }

    pub fn drain(&mut self, netns: u64, protocol: Protocol, number: u16, delta: PortDelta) -> &mut Self {
        let ports = BTreeMap::from([(port(netns, protocol, number), delta)]);
        let at = self.now;
        self.apply(Input::Traffic(TrafficDrain { at, ports }))
    }

    /// `CODE PORT/PROTOCOL` of every open finding, sorted.
    pub fn findings(&self) -> Vec<String> {
        let line = |finding: std::sync::Arc<portolan_engine::model::finding::Finding>| {
            let port = finding.listener.as_ref().map(|l| format!(" {}/{}", l.port.port, l.port.protocol));
            format!("{}{}", finding.code.as_str(), port.unwrap_or_default())
        };
        let mut lines: Vec<String> = self.engine.findings().map(line).collect();
        lines.sort();
        lines
    }

    /// `PORT/PROTOCOL POD` of every open listener, sorted.
    pub fn listeners(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .engine
            .listeners()
            .map(|l| {
                let pod = l.pod.as_ref().map_or("-", |pod| pod.name.as_str());
                format!("{}/{} {pod}", l.port.port, l.port.protocol)
            })
            .collect();
        lines.sort();
        lines
    }

    pub fn check(&self, expected: &[&str]) {
        assert_eq!(self.findings(), expected);
    }

    /// How often a listener of this port was reported as open and as closed.
    pub fn printed(&self, number: u16) -> (usize, usize) {
        let states = self.said.iter().filter_map(|change| match change {
            Change::Listener(listener) if listener.port.port.get() == number => Some(listener.state),
            _ => None,
        });
        let states: Vec<ListenerState> = states.collect();
        let open = states.iter().filter(|state| **state == ListenerState::Open).count();
        (open, states.len() - open)
    }

    /// States of the reported findings with this code.
    pub fn told(&self, code: &str) -> Vec<FindingState> {
        let findings = self.said.iter().filter_map(|change| match change {
            Change::Finding(finding) if finding.code.as_str() == code => Some(finding.state),
            _ => None,
        });
        findings.collect()
    }
}

pub struct PodBuilder(Pod);

impl PodBuilder {
    pub fn at(mut self, netns: &str) -> Self {
        self.0.netns_path = Some(format!("/run/netns/{netns}"));
        self
    }

    pub fn uid(mut self, uid: &str) -> Self {
        self.0.uid = PodUid(uid.to_owned());
        self
    }

    pub fn host_network(mut self) -> Self {
        self.0.host_network = true;
        self
    }

    pub fn address(mut self, address: &str) -> Self {
        self.0.addresses.push(ip(address));
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn ready(mut self, ready: bool) -> Self {
        self.0.ready = Some(ready);
        self
    }

    pub fn service_ready(mut self, ready: bool) -> Self {
        self.0.service_ready = Some(ready);
        self
    }

    pub fn draining(mut self) -> Self {
        self.0.draining = true;
        self
    }

    pub fn mirror(mut self, uid: &str) -> Self {
        self.0.mirror = Some(PodUid(uid.to_owned()));
        self
    }

    pub fn runtime(mut self, name: &str) -> Self {
        self.0.opaque_runtime = Some(name.to_owned());
        self
    }

    /// Returns the container that was added last.
    fn last(&mut self) -> &mut Container {
        self.0.containers.last_mut().expect("a container")
    }

    pub fn named_port(mut self, name: &str, number: u16, protocol: Protocol) -> Self {
        let port = NonZeroU16::new(number).expect("a port");
        let name = Some(name.to_owned());
        self.last().ports.push(DeclaredPort { name, port, protocol, host_port: None });
        self
    }

    /// Publishes the last port of the last container.
    pub fn host_port(mut self, number: u16) -> Self {
        self.last().ports.last_mut().expect("a port").host_port = NonZeroU16::new(number);
        self
    }

    pub fn probe(mut self, handler: ProbeHandler, port: PortRef) -> Self {
        self.last().probes.push(ProbePort { handler, port });
        self
    }

    pub fn running(mut self, running: bool) -> Self {
        self.last().running = Some(running);
        self
    }

    pub fn container(mut self, name: &str, kind: ContainerKind, ports: &[(u16, Protocol)]) -> Self {
        let declared = |(port, protocol): &(u16, Protocol)| DeclaredPort {
            name: None,
            port: NonZeroU16::new(*port).expect("a port"),
            protocol: *protocol,
            host_port: None,
        };
        let id = format!("{name:0>16}");
        let ports = ports.iter().map(declared).collect();
        self.0.containers.push(Container {
            name: name.to_owned(),
            id,
            image: "app:1".to_owned(),
            kind,
            ports,
            ..Container::default()
        });
        self
    }
}

impl From<PodBuilder> for Pod {
    fn from(builder: PodBuilder) -> Self {
        builder.0
    }
}

pub fn pod(name: &str) -> PodBuilder {
    PodBuilder(Pod {
        uid: PodUid(format!("uid-{name}")),
        namespace: "demo".to_owned(),
        name: name.to_owned(),
        ..Pod::default()
    })
}

pub fn app() -> Pod {
    pod("multi-port-app").at("app").container("app", ContainerKind::Regular, &[(8080, Protocol::Tcp)]).into()
}

/// The source of this name on the command line.
fn pod_source(name: &str) -> PodSource {
    match name {
        "cri" => PodSource::Runtime,
        "kubernetes" => PodSource::ApiServer,
        _ => PodSource::File,
    }
}

/// One pod, as this source sees it.
pub fn told(source: &'static str, pod: impl Into<Pod>) -> Input {
    Input::PodChanged { source: pod_source(source), pod: Box::new(pod.into()) }
}

pub fn gone(source: &'static str, uid: &str) -> Input {
    Input::PodGone { source: pod_source(source), uid: PodUid(uid.to_owned()) }
}

/// The cgroup of a container that [`PodBuilder::container`] made.
pub fn cgroup(pod_uid: &str, container: &str) -> String {
    let uid = pod_uid.replace('-', "_");
    format!("/kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{container:0>16}.scope")
}

/// A socket on all addresses, opened by a process in this cgroup.
pub fn opened_in(cgroup: &str, netns: u64, cookie: u64, number: u16, at: BootTime) -> Input {
    let mut input = opened(netns, cookie, Protocol::Tcp, number, "0.0.0.0", at);
    if let Input::SocketOpened(socket) = &mut input {
        socket.process = Some(process("python3", Some(cgroup)));
    }
    input
}

pub fn pods(pods: Vec<Pod>) -> Input {
    Input::Pods { source: PodSource::File, pods }
}

/// A netns that existed from the beginning.
pub fn netns(id: u64, name: &str, address: &str) -> Input {
    netns_at(id, name, address, ms(500))
}

pub fn netns_at(id: u64, name: &str, address: &str, at: BootTime) -> Input {
    let addresses = ["127.0.0.1/8", address].iter().map(|a| a.parse().expect("an address")).collect();
    let facts = NetnsFacts {
        netns: NetnsId(id),
        inode: 4_026_530_000 + id,
        paths: vec![format!("/run/netns/{name}")],
        is_host: false,
        addresses,
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    };
    Input::NetnsSeen { facts, at }
}

pub fn host() -> Input {
    let addresses = ["127.0.0.1/8", "192.0.2.10/24", "10.1.0.1/24"];
    let facts = NetnsFacts {
        netns: NetnsId(HOST),
        inode: 4_026_531_840,
        paths: Vec::new(),
        is_host: true,
        addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    };
    Input::NetnsSeen { facts, at: ms(500) }
}

pub fn opened(
    netns: u64,
    cookie: u64,
    protocol: Protocol,
    number: u16,
    address: &str,
    at: BootTime,
) -> Input {
    Input::SocketOpened(OpenedSocket {
        cookie: SocketCookie(cookie),
        port: port(netns, protocol, number),
        address: ip(address),
        v6_only: None,
        on_loopback: false,
        process: Some(process("python3", None)),
        at,
    })
}

pub fn scan(netns: u64, at: BootTime, sockets: &[(u64, Protocol, u16)]) -> Input {
    let sockets = sockets.iter().map(|(cookie, protocol, number)| ScannedSocket {
        cookie: SocketCookie(*cookie),
        port: port(netns, *protocol, *number),
        address: ip("0.0.0.0"),
        v6_only: None,
        on_loopback: false,
        holder: Holder::Process(process("python3", None)),
    });
    Input::NetnsScanned(NetnsScan { netns: NetnsId(netns), at, sockets: sockets.collect() })
}

/// The growth of one peer's counters in one drain.
pub fn call(netns: u64, protocol: Protocol, number: u16, peer: &str, count: u64, at: BootTime) -> Input {
    let tcp = protocol == Protocol::Tcp;
    let peer = PeerDelta {
        address: ip(peer),
        first_seen: at,
        attempts: if tcp { 0 } else { count },
        connections: if tcp { count } else { 0 },
        packets: if tcp { count * 5 } else { 0 },
        bytes: count * 300,
        addressed_first: false,
        accepted_by: None,
    };
    let delta = PortDelta {
        attempts: count,
        connections: peer.connections,
        packets: peer.packets,
        bytes: peer.bytes,
        peers_created: 1,
        peers: vec![peer],
    };
    Input::Traffic(TrafficDrain { at, ports: BTreeMap::from([(port(netns, protocol, number), delta)]) })
}

/// One peer of a drain, without traffic.
pub fn peer(address: &str, at: BootTime) -> PeerDelta {
    PeerDelta {
        address: ip(address),
        first_seen: at,
        attempts: 0,
        connections: 0,
        packets: 0,
        bytes: 0,
        addressed_first: false,
        accepted_by: None,
    }
}

/// The growth of a port's counters that consists of its peers'.
pub fn drained(peers: Vec<PeerDelta>) -> PortDelta {
    let sum = |of: fn(&PeerDelta) -> u64| peers.iter().map(of).sum();
    PortDelta {
        attempts: sum(|peer| peer.attempts),
        connections: sum(|peer| peer.connections),
        packets: sum(|peer| peer.packets),
        bytes: sum(|peer| peer.bytes),
        peers_created: u64::try_from(peers.len()).unwrap_or_default(),
        peers,
    }
}

/// A scan that found one socket and who holds it.
pub fn held(
    netns: u64,
    at: BootTime,
    (cookie, protocol, number): (u64, Protocol, u16),
    address: &str,
    holder: Holder,
) -> Input {
    let socket = ScannedSocket {
        cookie: SocketCookie(cookie),
        port: port(netns, protocol, number),
        address: ip(address),
        v6_only: None,
        on_loopback: false,
        holder,
    };
    Input::NetnsScanned(NetnsScan { netns: NetnsId(netns), at, sockets: vec![socket] })
}

pub fn process(name: &str, cgroup: Option<&str>) -> Process {
    Process { pid: 77, name: name.to_owned(), executable: None, cgroup: cgroup.map(str::to_owned) }
}

pub fn port(netns: u64, protocol: Protocol, number: u16) -> PortId {
    PortId { netns: NetnsId(netns), protocol, port: NonZeroU16::new(number).expect("a port") }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn ms(millis: u64) -> BootTime {
    BootTime(millis * 1_000_000)
}
