//! Read model of a small node: a pod with undeclared listeners, a pod that connects to it, and a listener without a pod.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use portolan::sink::convert::workload_port::of_finding;
use portolan::sink::convert::{Converter, Wall};
use portolan::sink::http::query::{PageSelection, PortCounts, ReadModel};
use portolan_engine::Engine;
use portolan_engine::model::connection::Connection;
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::{BootTime, NetnsId, PodUid, PortId, Protocol};
use portolan_engine::model::listener::{
    Declaration, DeclarationStatus, Exposure, Listener, ListenerState, ServedBy,
};
use portolan_engine::model::netns::NetnsRef;
use portolan_engine::model::pod::{Container, ContainerKind, Pod, PodRef, Workload};
use portolan_engine::model::policy::Policy;
use portolan_engine::model::process::Process;
use portolan_engine::model::reach::Reach;
use portolan_engine::model::traffic::{Origin, Peer, Traffic};
use portolan_engine::read::explain::answer::{ExplainError, Explained};
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{BasisPod, BasisPort, PolicyBasis, PolicySubject, PolicyTarget};
use portolan_report::facts::Facts;
use portolan_report::wire::{AgentStatus, HookStatus, Limit, SourceStatus};

use crate::cluster::{self, seconds};

/// 2026-03-04T12:00:00Z.
const NOON: i128 = 1_772_625_600_000_000_000;

/// The content of the node.
#[derive(Debug)]
pub struct Node {
    pub name: &'static str,
    pub generation: u64,
    pub findings: Vec<Arc<Finding>>,
    pub listeners: Vec<Arc<Listener>>,
    pub connections: Vec<Arc<Connection>>,
    /// Calls per minute of ports, by fingerprint.
    pub minutes: Vec<(u128, Vec<u32>)>,
    /// What ports count.
    pub port_counts: Vec<PortCounts>,
    /// The engine that answers `/v1/explain`.
    pub engine: Engine,
}

pub fn converter() -> Converter {
    Converter { agent: "node-1".into(), wall: Wall { unix_ns_at_boot: NOON }, now: seconds(90) }
}

fn port_id(protocol: Protocol, port: u16) -> PortId {
    PortId { netns: NetnsId(7), protocol, port: NonZeroU16::new(port).expect("not 0") }
}

pub fn pod(namespace: &str, name: &str) -> PodRef {
    PodRef {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: PodUid(format!("uid-{name}")),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: name.to_owned() }),
        host_network: false,
        labels: Arc::new([("app".to_owned(), name.to_owned())].into()),
        sole_container: Some("app".to_owned()),
    }
}

fn traffic(connections: u64) -> Traffic {
    let peer = Peer {
        address: "10.244.0.9".parse().expect("address"),
        origin: Origin::Pod,
        reference: Some("shop/curler".into()),
        via: None,
        is_beyond_audience: false,
        connections,
        packets: connections * 5,
        bytes: connections * 400,
        first_seen: seconds(10),
        last_seen: seconds(60),
    };
    Traffic {
        since: Some(seconds(5)),
        earlier: Reach::Nothing,
        attempts: connections,
        connections,
        packets: connections * 5,
        bytes: connections * 400,
        last_seen: (connections > 0).then(|| seconds(60)),
        peers: if connections > 0 { vec![peer] } else { Vec::new() },
        truncated: false,
    }
}

pub fn listener(owner: Option<PodRef>, protocol: Protocol, port: u16, status: DeclarationStatus) -> Listener {
    let place = owner.as_ref().map_or("nobody", |pod| pod.name.as_str());
    Listener {
        id: format!("{place}-{}-{port:05}", protocol.as_str().to_lowercase()),
        port: port_id(protocol, port),
        addresses: vec!["0.0.0.0".parse().expect("address")],
        v6_only: false,
        sockets: 1,
        netns: NetnsRef { inode: 4_026_532_001, name: Some("cni-1".to_owned()) },
        served_by: ServedBy::Process,
        other_processes: Vec::new(),
        forwarded_to: None,
        unproven: false,
        in_storm: false,
        process: Some(Process {
            pid: 4242,
            name: "python3".to_owned(),
            executable: Some("/usr/bin/python3.11".to_owned()),
            cgroup: None,
        }),
        opened_at: Some(seconds(5)),
        state: ListenerState::Open,
        container: owner.as_ref().map(|_| Container {
            name: "app".to_owned(),
            id: "containerd://abc".to_owned(),
            image: "example/app:1".to_owned(),
            kind: ContainerKind::Regular,
            ..Container::default()
        }),
        pod: owner,
        declaration: Declaration {
            status,
            declared_by: if status == DeclarationStatus::Declared {
                vec!["container/app".to_owned()]
            } else {
                Vec::new()
            },
            explained_by: Vec::new(),
        },
        exposure: Exposure::Pod,
        traffic: traffic(if port == 9090 { 12 } else { 0 }),
    }
}

pub fn finding(code: FindingCode, listener: &Arc<Listener>) -> Finding {
    Finding {
        id: listener.id.clone(),
        state: FindingState::Open,
        suppressed_by: None,
        changed_at: None,
        previous_code: None,
        code,
        message: format!("port {} is not in the manifest: declare it or close it", listener.port.port),
        first_seen: seconds(10),
        last_seen: seconds(60),
        pod: listener.pod.clone(),
        container: listener.container.clone(),
        listener: Some(Arc::clone(listener)),
        protocol: Some(listener.port.protocol),
        port: Some(listener.port.port),
        declaration: listener.declaration.clone(),
        exposure: Exposure::Pod,
        policy: Policy::default(),
        traffic: listener.traffic.clone(),
        opened_at: listener.opened_at,
    }
}

pub fn connection(listener: &Listener, number: u16) -> Connection {
    Connection {
        listener_id: listener.port.port.get().into(),
        port: listener.port,
        local: "10.244.0.8".parse().expect("address"),
        remote: ("10.244.0.9".parse().expect("address"), 40_000 + number),
        origin: Origin::Pod,
        reference: Some("shop/curler".into()),
        via: None,
        opened_at: seconds(20 + u64::from(number)),
        closed_at: number.is_multiple_of(2).then(|| seconds(60)),
        bytes_in: 75,
        bytes_out: 325,
        pod: listener.pod.clone().map(Arc::new),
    }
}

impl Default for Node {
    fn default() -> Self {
        let app = || Some(pod("shop", "multi-port-app"));
        let listeners: Vec<Arc<Listener>> = [
            listener(app(), Protocol::Tcp, 8080, DeclarationStatus::Declared),
            listener(app(), Protocol::Tcp, 9090, DeclarationStatus::Undeclared),
            listener(app(), Protocol::Tcp, 5000, DeclarationStatus::Undeclared),
            listener(Some(pod("kube-system", "dns")), Protocol::Udp, 53, DeclarationStatus::Declared),
            listener(None, Protocol::Tcp, 22, DeclarationStatus::Unknown),
        ]
        .map(Arc::new)
        .into();
        let findings = [
            finding(FindingCode::UndeclaredActive, &listeners[1]),
            finding(FindingCode::UndeclaredReachable, &listeners[2]),
            Finding { state: FindingState::Resolved, ..finding(FindingCode::Unattributed, &listeners[4]) },
        ];
        let connections = (0..3).map(|number| Arc::new(connection(&listeners[1], number))).collect();
        let findings = findings.map(Arc::new).into();
        let engine = cluster::engine();
        let (minutes, port_counts) = (Vec::new(), Vec::new());
        Self { name: "node-1", generation: 7, findings, listeners, connections, minutes, port_counts, engine }
    }
}

impl ReadModel for Node {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn converter(&self) -> Converter {
        Converter { agent: self.name.into(), ..converter() }
    }

    fn finding(&self, id: &str) -> Option<Arc<Finding>> {
        self.findings.iter().find(|finding| finding.id == id).cloned()
    }

    fn listener(&self, id: &str) -> Option<Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.id == id).cloned()
    }

    fn findings(&self, selection: PageSelection<'_>) -> Vec<Arc<Finding>> {
        page(
            &self.findings,
            selection,
            |finding| &finding.id,
            |finding| {
                selection.selects_finding(finding)
                    && selection.has_fingerprint(|| of_finding(finding, self.name))
            },
        )
    }

    fn listeners(&self, selection: PageSelection<'_>) -> Vec<Arc<Listener>> {
        page(
            &self.listeners,
            selection,
            |listener| &listener.id,
            |listener| selection.lets_through(&Facts::of_listener(listener)),
        )
    }

    fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.iter()
    }

    fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.engine.live_pods()
    }

    fn explain(&self, target: &Target) -> Result<Explained, ExplainError> {
        self.engine.explain(target)
    }

    /// Returns one workload with all listeners of the pod, and `curler` as its caller.
    fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis {
        let known = |name: &str, labels: [(&str, &str); 2]| {
            let PodRef { namespace, name, uid, workload, .. } = pod("shop", name);
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let containers = vec![Container { name: "app".to_owned(), ..Container::default() }];
            Arc::new(Pod { namespace, name, uid, workload, labels, containers, ..Pod::default() })
        };
        let app = known("multi-port-app", [("app", "multi-port-app"), ("pod-template-hash", "6d4b75cb6d")]);
        let is_app = match &target.subject {
            PolicySubject::Pod(name) => *name == app.name,
            PolicySubject::Workload { name, .. } => *name == app.name,
        };
        if !is_app {
            return PolicyBasis::default();
        }
        let mine =
            self.listeners.iter().filter(|one| one.pod.as_ref().is_some_and(|pod| pod.name == app.name));
        let port = |listener: &Arc<Listener>| BasisPort {
            protocol: listener.port.protocol,
            port: listener.port.port,
            name: None,
            declaration: listener.declaration.clone(),
            listener: Some(Arc::clone(listener)),
            code: self.findings.iter().find(|finding| finding.id == listener.id).map(|finding| finding.code),
            service_port_names: Default::default(),
        };
        let curler = known("curler", [("app", "curler"), ("version", "2")]);
        PolicyBasis {
            pods: vec![BasisPod {
                pod: Arc::clone(&app),
                policies: vec!["deny".to_owned()],
                missing_names: Default::default(),
                storm: false,
                ports: mine.map(port).collect(),
            }],
            neighbours: vec![Arc::clone(&curler)],
            callers: vec![curler],
            truncated: false,
        }
    }

    fn started_at(&self) -> BootTime {
        seconds(0)
    }

    fn minutes(&self, _minute: i64, wanted: Option<&BTreeSet<u128>>) -> Vec<(u128, Vec<u32>)> {
        let is_wanted = |fingerprint| wanted.is_none_or(|wanted| wanted.contains(fingerprint));
        self.minutes.iter().filter(|(fingerprint, _)| is_wanted(fingerprint)).cloned().collect()
    }

    fn port_counts(&self) -> Vec<PortCounts> {
        self.port_counts.clone()
    }

    fn status(&self) -> AgentStatus {
        let hook = |name: &str, state: &str, reason: Option<&str>| HookStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            reason: reason.map(ToOwned::to_owned),
        };
        AgentStatus {
            envelope: self.converter().envelope(),
            version: "0.1.0".to_owned(),
            started_at: None,
            kernel: "6.12.0".to_owned(),
            hooks: vec![
                hook("sock_ops", "attached", None),
                hook("sk_lookup", "refused", Some("CAP_NET_ADMIN is missing")),
            ],
            sources: vec![SourceStatus {
                name: "file".to_owned(),
                state: "up".to_owned(),
                since: converter().envelope().time,
                reason: None,
            }],
            namespaces: 3,
            listeners: self.listeners.len(),
            lost: [("ring-full".to_owned(), 0)].into(),
            limits: [("listeners".to_owned(), Limit { used: 5, max: 65_536 })].into(),
        }
    }
}

fn page<T>(
    all: &[Arc<T>],
    selection: PageSelection<'_>,
    id: impl Fn(&T) -> &String,
    is_wanted: impl Fn(&T) -> bool,
) -> Vec<Arc<T>> {
    let is_later = |item: &T| selection.after.is_none_or(|after| id(item).as_str() > after);
    let mut found: Vec<Arc<T>> =
        all.iter().filter(|item| is_later(item) && is_wanted(item)).cloned().collect();
    found.sort_by(|a, b| id(a).cmp(id(b)));
    found.truncate(selection.limit);
    found
}
