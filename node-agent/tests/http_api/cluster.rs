//! An engine with the facts of a small cluster: a pod behind a NodePort, a pod whose Service names a port that no container
//! declares, a pod whose runtime hides its sockets, a host-network pod, and Services whose pods are on other nodes.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_engine::Engine;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::network_policy::{
    AdmittedPort, IngressRule, LabelSelector, NetworkPolicy, PolicyPeer,
};
use portolan_engine::model::options::EngineOptions;
use portolan_engine::model::pod::{Container, DeclaredPort, Pod, PodSource, PortRef, Workload};
use portolan_engine::model::process::Process;
use portolan_engine::model::service::{ExternalAccess, Service, ServiceKind, ServicePort};
use portolan_engine::model::socket::{NetnsScan, OpenedSocket};
use portolan_engine::model::traffic::{PeerDelta, PortDelta, TrafficDrain};

const WEB: NetnsId = NetnsId(11);
const CURLER: NetnsId = NetnsId(12);
const HOST: NetnsId = NetnsId(13);

/// Returns the time `n` seconds after boot.
pub fn seconds(n: u64) -> BootTime {
    BootTime(n * 1_000_000_000)
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not 0")
}

fn netns(netns: NetnsId, paths: &[&str], addresses: &[&str]) -> Input {
    let facts = NetnsFacts {
        netns,
        inode: 4_026_532_000 + netns.0,
        paths: paths.iter().map(|path| format!("/run/netns/{path}")).collect(),
        is_host: netns == HOST,
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        has_guest: false,
        ephemeral_ports: (32_768, 60_999),
    };
    Input::NetnsSeen { facts, at: seconds(1) }
}

fn pod(namespace: &str, name: &str, app: &str) -> Pod {
    Pod {
        uid: PodUid(format!("uid-{namespace}-{name}")),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        containers: vec![Container {
            name: "app".to_owned(),
            id: format!("{name:0>16}"),
            image: "example/app:1".to_owned(),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

fn pods() -> Vec<Pod> {
    let mut web = pod("shop", "web", "web");
    web.netns_path = Some("/run/netns/web".to_owned());
    web.addresses = vec!["10.244.0.8".parse().expect("an address")];
    web.ready = Some(true);
    let named = DeclaredPort {
        name: Some("http".to_owned()),
        port: port(8080),
        protocol: Protocol::Tcp,
        host_port: NonZeroU16::new(8088),
    };
    web.containers[0].ports = vec![named];
    let mut curler = pod("shop", "curler", "curler");
    curler.netns_path = Some("/run/netns/curler".to_owned());
    curler.addresses = vec!["10.244.0.9".parse().expect("an address")];
    let mut exporter = pod("monitoring", "node-exporter", "node-exporter");
    exporter.host_network = true;
    let mut sealed = pod("shop", "sealed", "sealed");
    sealed.opaque_runtime = Some("kata".to_owned());
    vec![web, curler, exporter, sealed, pod("blue", "twin", "twin"), pod("green", "twin", "twin")]
}

fn service(name: &str, kind: ServiceKind, app: &str, ports: Vec<ServicePort>) -> Service {
    let selector = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    Service {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        kind,
        selector: if app.is_empty() { BTreeMap::new() } else { selector },
        ports,
        addresses: vec!["10.96.0.10".parse().expect("an address")],
        outside: None,
        ip_families: (false, false),
        publishes_not_ready: false,
    }
}

fn sends(number: u16, target: PortRef, node_port: u16) -> ServicePort {
    ServicePort {
        name: Some("web".to_owned()),
        protocol: Protocol::Tcp,
        port: port(number),
        target,
        node_port: NonZeroU16::new(node_port),
    }
}

fn services() -> Vec<Service> {
    let number = |n| PortRef::Number(port(n));
    let named = |name: &str| PortRef::Name(name.to_owned());
    let mut web = service("web", ServiceKind::LoadBalancer, "web", vec![sends(80, named("http"), 32_264)]);
    let outside = ExternalAccess {
        balancer: vec!["203.0.113.9".to_owned()],
        external_ips: Vec::new(),
        local_only: true,
        health_check: NonZeroU16::new(31_000),
    };
    web.outside = outside.boxed();
    web.addresses.push("203.0.113.9".parse().expect("an address"));
    vec![
        web,
        service("typo", ServiceKind::ClusterIp, "web", vec![sends(80, named("htpp"), 0)]),
        service("off", ServiceKind::NodePort, "web", vec![sends(81, number(8081), 30_081)]),
        service("db", ServiceKind::NodePort, "db", vec![sends(5432, number(5432), 30_432)]),
        service("alien", ServiceKind::ClusterIp, "", vec![sends(80, number(80), 0)]),
        service("sealed", ServiceKind::Headless, "sealed", vec![sends(443, number(443), 0)]),
    ]
}

fn policies() -> Vec<NetworkPolicy> {
    let selector = LabelSelector {
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..Default::default()
    };
    let admitted = AdmittedPort {
        protocol: Protocol::Tcp,
        port: Some(PortRef::Name("http".to_owned())),
        end_port: None,
    };
    let policy = |name: &str, ingress| NetworkPolicy {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        selector: selector.clone(),
        ingress,
    };
    let pods = |labels: &LabelSelector| PolicyPeer::Pods { namespaces: None, pods: Some(labels.clone()) };
    let peers = vec![pods(&selector), pods(&LabelSelector::default())];
    vec![
        policy("deny-all", Vec::new()),
        policy("web-http", vec![IngressRule { ports: vec![admitted], peers }]),
    ]
}

fn opened(netns: NetnsId, number: u16, name: &str, cgroup: Option<&str>, address: &str) -> Input {
    Input::SocketOpened(OpenedSocket {
        cookie: SocketCookie(u64::from(number)),
        port: PortId { netns, protocol: Protocol::Tcp, port: port(number) },
        address: address.parse().expect("an address"),
        v6_only: None,
        on_loopback: false,
        process: Some(Process {
            pid: 4000 + u32::from(number % 1000),
            name: name.to_owned(),
            executable: Some(format!("/usr/bin/{name}")),
            cgroup: cgroup.map(str::to_owned),
        }),
        at: seconds(5),
    })
}

fn called(number: u16, connections: u64) -> Input {
    let peer = PeerDelta {
        address: "10.244.0.9".parse().expect("an address"),
        first_seen: seconds(10),
        attempts: 0,
        connections,
        packets: connections * 5,
        bytes: connections * 400,
        addressed_first: false,
        accepted_by: None,
    };
    let delta = PortDelta {
        attempts: connections,
        connections,
        packets: connections * 5,
        bytes: connections * 400,
        peers_created: 1,
        peers: vec![peer],
    };
    let port = PortId { netns: WEB, protocol: Protocol::Tcp, port: port(number) };
    Input::Traffic(TrafficDrain { at: seconds(60), ports: BTreeMap::from([(port, delta)]) })
}

/// Returns the engine with one more pod, of Deployment `shop/NAME`, on no Service.
pub fn engine_with_pod(name: &str, address: &str) -> Engine {
    let mut engine = engine();
    let mut all = pods();
    let mut more = pod("shop", &format!("{name}-x7k2p"), name);
    more.workload = Some(Workload { kind: "Deployment".to_owned(), name: name.to_owned() });
    more.addresses = vec![address.parse().expect("an address")];
    all.push(more);
    engine.apply(Input::Pods { source: PodSource::File, pods: all }, seconds(90));
    engine
}

/// Returns an engine that got its inputs in the order of an agent.
pub fn engine() -> Engine {
    let mut engine = Engine::new(EngineOptions::default());
    let exporter = "/kubepods.slice/kubepods-poduid_monitoring_node_exporter.slice/cri-containerd-000node-exporter.scope";
    for input in [
        netns(HOST, &[], &["127.0.0.1/8", "192.0.2.10/24"]),
        netns(WEB, &["web"], &["127.0.0.1/8", "10.244.0.8/24"]),
        netns(CURLER, &["curler"], &["127.0.0.1/8", "10.244.0.9/24"]),
        Input::Pods { source: PodSource::File, pods: pods() },
        Input::Services(Listing::All(services())),
        Input::NetworkPolicies(Listing::All(policies())),
    ] {
        engine.apply(input, seconds(2));
    }
    for netns in [HOST, WEB, CURLER] {
        engine
            .apply(Input::NetnsScanned(NetnsScan { netns, at: seconds(3), sockets: Vec::new() }), seconds(3));
    }
    for input in [
        opened(WEB, 8080, "python3", None, "0.0.0.0"),
        opened(WEB, 9090, "ev\u{1b}[2Jil", None, "0.0.0.0"),
        opened(WEB, 6060, "python3", None, "127.0.0.1"),
        opened(HOST, 9100, "node_exporter", Some(exporter), "0.0.0.0"),
        opened(HOST, 22, "sshd", None, "0.0.0.0"),
    ] {
        engine.apply(input, seconds(5));
    }
    engine.apply(called(8080, 12), seconds(60));
    engine.apply(called(9090, 1), seconds(60));
    while let Some(next) = engine.next_deadline().filter(|next| *next <= seconds(90)) {
        engine.tick(next);
    }
    engine
}
