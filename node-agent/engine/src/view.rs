//! What can be asked: listeners, findings and connections as reports show them, made when asked for so that the state
//! itself stays small.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::attribution::container;
use super::change::{
    Connection, Declaration, DeclarationStatus, Exposure, Finding, Listener, ListenerState, NetnsRef, PodRef,
    Policy, Traffic,
};
use super::crowd::CrowdOf;
use super::declaration::{self, Served};
use super::finding_store::{FindingRecord, Subject};
use super::fingerprint::{hex, parse};
use super::identity::{BootTime, NetnsId, PodUid, PortId, Protocol};
use super::isolation;
use super::message;
use super::namespace::Namespace;
use super::pod::Pod;
use super::pod_record::PodRecord;
use super::port::Port;
use super::service::Service;

impl Engine {
    /// The listeners that were printed and not closed.
    pub fn listeners(&self) -> impl Iterator<Item = Arc<Listener>> + '_ {
        let printed = self.ports.iter().filter(|(_, port)| port.printed.is_some());
        printed.map(|(id, port)| Arc::new(self.render_listener(*id, port, ListenerState::Open)))
    }

    /// The findings that are open or suppressed.
    pub fn findings(&self) -> impl Iterator<Item = Arc<Finding>> + '_ {
        self.findings.iter().filter_map(|(id, record)| self.render_finding(id, record).map(Arc::new))
    }

    /// The pod of a UID (its own, or its mirror's), and the UID that the API server has for it; `None` where the API server
    /// does not know it.
    #[must_use]
    pub fn at_server(&self, uid: &PodUid) -> Option<(Arc<PodRef>, PodUid)> {
        let (record, uid) = self.pods.at_server(uid)?;
        Some((Arc::clone(&record.reference), uid.clone()))
    }

    /// Whether a netns source has told of this netns.
    #[must_use]
    pub fn knows_netns(&self, netns: NetnsId) -> bool {
        self.netns.facts(netns).is_some()
    }

    /// How many ports are kept, told or not.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Whether this port is kept.
    #[must_use]
    pub fn knows_port(&self, port: PortId) -> bool {
        self.ports.contains_key(&port)
    }

    /// How many netns are remembered, those that ended included.
    #[must_use]
    pub fn remembered_netns(&self) -> usize {
        self.netns.len()
    }

    /// The open or suppressed finding with this id.
    #[must_use]
    pub fn finding(&self, id: &str) -> Option<Arc<Finding>> {
        self.finding_of(parse(id)?)
    }

    /// The open listener with this id.
    #[must_use]
    pub fn listener(&self, id: &str) -> Option<Arc<Listener>> {
        self.listener_of(parse(id)?)
    }

    /// Recorded connections, latest first.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.iter()
    }

    /// The pod of that name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let record = self.pods.get(self.pods.by_name(namespace, name)?)?;
        record.departed.is_none().then(|| Arc::clone(&record.pod))
    }

    /// A namespace's metadata, if a source told it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Every Service that was told.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Grows with everything that a question could show differently.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn render_listener(&self, id: PortId, port: &Port, state: ListenerState) -> Listener {
        let record = port.pod.and_then(|pod| self.pods.get(pod));
        let pod = record.map(|record| &*record.pod);
        let face = port.face.as_ref();
        let resident = port.resident();
        let declaring = pod.map(|pod| declaration::declaring(pod, id.protocol, id.port)).unwrap_or_default();
        let addresses = face.map(|face| face.addresses.clone()).unwrap_or_default();
        let host = self.netns.is_host(id.netns);
        let unknown = if host { Exposure::Host } else { Exposure::Pod };
        Listener {
            id: hex(port.id),
            port: id,
            exposure: face.map_or(unknown, |face| face.exposure(host)),
            addresses,
            v6_only: face.is_some_and(|face| face.v6_only),
            sockets: port.sockets.len(),
            netns: self.refer_netns(id.netns),
            process: face.and_then(|face| face.process.as_deref()).cloned(),
            opened_at: face.and_then(|face| face.opened_at),
            state,
            pod: record.map(|record| (*record.reference).clone()),
            container: pod.and_then(|pod| container(pod, resident, &declaring)).cloned(),
            declaration: declaration::describe(
                record.map(PodRecord::manifests),
                Served { protocol: id.protocol, port: id.port, process: resident },
            ),
            traffic: port.report(id.protocol),
        }
    }

    pub(super) fn render_port_finding(&self, id: PortId, port: &Port, now: BootTime) -> Option<Finding> {
        let record = self.findings.get(port.id)?;
        let state = if port.sockets.is_empty() { ListenerState::Closed } else { ListenerState::Open };
        let listener = Arc::new(self.render_listener(id, port, state));
        let policy = port
            .pod
            .and_then(|pod| self.pods.get(pod))
            .map(|pod| self.policy_of(pod, id.protocol, id.port))
            .unwrap_or_default();
        let code = record.stand.code;
        Some(Finding {
            id: hex(port.id),
            state: record.state(),
            code,
            message: message::listener(code, &listener, &policy),
            first_seen: record.first_seen,
            last_seen: now.max(record.told_at).max(port.traffic.last_seen().unwrap_or_default()),
            pod: listener.pod.clone(),
            container: listener.container.clone(),
            protocol: Some(id.protocol),
            port: Some(id.port),
            declaration: listener.declaration.clone(),
            exposure: listener.exposure,
            policy,
            traffic: listener.traffic.clone(),
            suppressed_by: record.stand.suppressed_by.clone(),
            opened_at: None,
            listener: Some(listener),
        })
    }

    pub(super) fn render_pod_finding(&self, id: u64, now: BootTime) -> Option<Finding> {
        let record = self.findings.get(id)?;
        let mut finding = self.render_finding(id, record)?;
        finding.last_seen = finding.last_seen.max(now);
        Some(finding)
    }

    pub(super) fn render_finding(&self, id: u64, record: &FindingRecord) -> Option<Finding> {
        match record.subject {
            Subject::Port(port) => self.render_port_finding(port, self.ports.get(&port)?, record.told_at),
            Subject::Stale(key, protocol, port) => {
                let pod = self.pods.get(key)?;
                let mut finding = self.silent_port(id, record, pod, (protocol, port));
                finding.message = message::stale(&pod.reference, protocol, port.get());
                Some(finding)
            }
            Subject::Dangling(key, protocol, port) => {
                let pod = self.pods.get(key)?;
                let mut finding = self.silent_port(id, record, pod, (protocol, port));
                finding.message = message::dangling(pod.manifests(), protocol, port);
                Some(finding)
            }
            Subject::Opaque(key) => {
                let pod = self.pods.get(key)?;
                let mut finding = bare(id, record, Some(&pod.reference));
                finding.message = message::opaque(&pod.pod);
                finding.declaration.status = DeclarationStatus::Unknown;
                Some(finding)
            }
            Subject::Storm(of) => {
                let crowd = self.crowd(of)?;
                let mut finding = match of {
                    CrowdOf::Pod(key) => {
                        let pod = self.pods.get(key)?;
                        let mut finding = bare(id, record, Some(&pod.reference));
                        finding.message = message::storm(&pod.reference, crowd.ports.len());
                        finding
                    }
                    CrowdOf::Netns(netns) => {
                        let mut finding = bare(id, record, None);
                        finding.message = message::crowd(&self.refer_netns(netns), crowd.ports.len());
                        finding.declaration.status = DeclarationStatus::Unknown;
                        finding
                    }
                };
                finding.traffic = self.traffic_of(crowd.ports.iter());
                Some(finding)
            }
        }
    }

    /// A finding about a port that nobody serves.
    fn silent_port(
        &self,
        id: u64,
        record: &FindingRecord,
        pod: &PodRecord,
        (protocol, port): (Protocol, NonZeroU16),
    ) -> Finding {
        let declaring = declaration::declaring(&pod.pod, protocol, port);
        let mut finding = bare(id, record, Some(&pod.reference));
        finding.protocol = Some(protocol);
        finding.port = Some(port);
        finding.container = match declaring.as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        };
        let served = Served { protocol, port, process: None };
        finding.declaration = declaration::describe(Some(pod.manifests()), served);
        finding.policy = self.policy_of(pod, protocol, port);
        finding
    }

    fn policy_of(&self, pod: &PodRecord, protocol: Protocol, port: NonZeroU16) -> Policy {
        isolation::describe(self.policies.known(), pod.manifests(), protocol, port)
    }

    pub(super) fn refer_netns(&self, netns: NetnsId) -> NetnsRef {
        let facts = self.netns.facts(netns);
        let name = facts.and_then(|f| f.paths.first()).and_then(|p| p.rsplit('/').next()).map(str::to_owned);
        NetnsRef { inode: facts.map_or(0, |facts| facts.inode), name }
    }

    /// Totals over many ports, without peers.
    fn traffic_of<'a>(&self, ports: impl Iterator<Item = &'a PortId>) -> Traffic {
        let mut sum = Traffic::default();
        for (id, port) in ports.filter_map(|id| Some((id, self.ports.get(id)?))) {
            port.traffic.add_to(id.protocol, &mut sum);
        }
        sum
    }
}

fn bare(id: u64, record: &FindingRecord, pod: Option<&PodRef>) -> Finding {
    Finding {
        id: hex(id),
        state: record.state(),
        code: record.stand.code,
        message: String::new(),
        first_seen: record.first_seen,
        last_seen: record.told_at,
        pod: pod.cloned(),
        container: None,
        listener: None,
        protocol: None,
        port: None,
        declaration: Declaration {
            status: DeclarationStatus::Undeclared,
            declared_by: Vec::new(),
            explained_by: Vec::new(),
        },
        exposure: if pod.is_some_and(|pod| pod.host_network) { Exposure::Host } else { Exposure::Pod },
        policy: Policy::default(),
        traffic: Traffic::default(),
        suppressed_by: record.stand.suppressed_by.clone(),
        opened_at: None,
    }
}
