//! Renders listeners and findings from the state on request, so that the state itself stays small.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::finding::Finding;
use crate::model::fingerprint::hex;
use crate::model::identity::{BootTime, NetnsId, PortId, Protocol};
use crate::model::listener::{Declaration, DeclarationStatus, Exposure, Listener, ListenerState};
use crate::model::netns::NetnsRef;
use crate::model::pod::PodRef;
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;
use crate::read::message;
use crate::rules::container_match::container;
use crate::rules::manifests::ServedPort;
use crate::rules::{declaration, isolation};
use crate::state::findings::{FindingRecord, Subject};
use crate::state::pod_record::PodRecord;
use crate::state::port::Port;
use crate::state::storms::StormScope;

impl Engine {
    pub(crate) fn render_listener(&self, id: PortId, port: &Port, state: ListenerState) -> Listener {
        let record = port.pod.and_then(|pod| self.pods.get(pod));
        let pod = record.map(|record| &*record.pod);
        let bindings = port.bindings.as_ref();
        let representative = port.representative();
        let declaring = pod.map(|pod| declaration::declaring(pod, id.protocol, id.port)).unwrap_or_default();
        let addresses = bindings.map(|bindings| bindings.addresses.clone()).unwrap_or_default();
        let host = self.netns.is_host(id.netns);
        let unknown = if host { Exposure::Host } else { Exposure::Pod };
        Listener {
            id: hex(port.id),
            port: id,
            exposure: bindings.map_or(unknown, |bindings| bindings.exposure(host)),
            addresses,
            v6_only: bindings.is_some_and(|bindings| bindings.v6_only),
            sockets: port.sockets.len(),
            netns: self.refer_netns(id.netns),
            process: bindings.and_then(|bindings| bindings.process.as_deref()).cloned(),
            opened_at: bindings.and_then(|bindings| bindings.opened_at),
            state,
            pod: record.map(|record| (*record.reference).clone()),
            container: pod.and_then(|pod| container(pod, representative, &declaring)).cloned(),
            declaration: declaration::describe(
                record.map(PodRecord::manifests),
                ServedPort { protocol: id.protocol, port: id.port, process: representative },
            ),
            traffic: port.report(id.protocol),
        }
    }

    pub(crate) fn render_port_finding(&self, id: PortId, port: &Port, now: BootTime) -> Option<Finding> {
        let record = self.findings.get(port.id)?;
        let state = if port.sockets.is_empty() { ListenerState::Closed } else { ListenerState::Open };
        let listener = Arc::new(self.render_listener(id, port, state));
        let policy = port
            .pod
            .and_then(|pod| self.pods.get(pod))
            .map(|pod| self.policy_of(pod, id.protocol, id.port))
            .unwrap_or_default();
        let code = record.assessment.code;
        Some(Finding {
            id: hex(port.id),
            state: record.state(),
            code,
            message: message::listener(code, &listener, &policy),
            first_seen: record.first_seen,
            last_seen: now.max(record.reported_at).max(port.traffic.last_seen().unwrap_or_default()),
            pod: listener.pod.clone(),
            container: listener.container.clone(),
            protocol: Some(id.protocol),
            port: Some(id.port),
            declaration: listener.declaration.clone(),
            exposure: listener.exposure,
            policy,
            traffic: listener.traffic.clone(),
            suppressed_by: record.assessment.suppressed_by.clone(),
            opened_at: None,
            listener: Some(listener),
        })
    }

    pub(crate) fn render_pod_finding(&self, id: u64, now: BootTime) -> Option<Finding> {
        let record = self.findings.get(id)?;
        let mut finding = self.render_finding(id, record)?;
        finding.last_seen = finding.last_seen.max(now);
        Some(finding)
    }

    pub(crate) fn render_finding(&self, id: u64, record: &FindingRecord) -> Option<Finding> {
        match record.subject {
            Subject::Port(port) => self.render_port_finding(port, self.ports.get(&port)?, record.reported_at),
            Subject::Stale(key, protocol, port) => {
                let pod = self.pods.get(key)?;
                let mut finding = self.render_unserved(id, record, pod, (protocol, port));
                finding.message = message::stale(&pod.reference, protocol, port.get());
                Some(finding)
            }
            Subject::Dangling(key, protocol, port) => {
                let pod = self.pods.get(key)?;
                let mut finding = self.render_unserved(id, record, pod, (protocol, port));
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
                let storm = self.storm(of)?;
                let mut finding = match of {
                    StormScope::Pod(key) => {
                        let pod = self.pods.get(key)?;
                        let mut finding = bare(id, record, Some(&pod.reference));
                        finding.message = message::pod_storm(&pod.reference, storm.ports.len());
                        finding
                    }
                    StormScope::Netns(netns) => {
                        let mut finding = bare(id, record, None);
                        finding.message = message::netns_storm(&self.refer_netns(netns), storm.ports.len());
                        finding.declaration.status = DeclarationStatus::Unknown;
                        finding
                    }
                };
                finding.traffic = self.traffic_of(storm.ports.iter());
                Some(finding)
            }
        }
    }

    /// A finding about a port that nobody serves.
    fn render_unserved(
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
        let served = ServedPort { protocol, port, process: None };
        finding.declaration = declaration::describe(Some(pod.manifests()), served);
        finding.policy = self.policy_of(pod, protocol, port);
        finding
    }

    fn policy_of(&self, pod: &PodRecord, protocol: Protocol, port: NonZeroU16) -> Policy {
        isolation::describe(self.policies.known(), pod.manifests(), protocol, port)
    }

    pub(crate) fn refer_netns(&self, netns: NetnsId) -> NetnsRef {
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
        code: record.assessment.code,
        message: String::new(),
        first_seen: record.first_seen,
        last_seen: record.reported_at,
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
        suppressed_by: record.assessment.suppressed_by.clone(),
        opened_at: None,
    }
}
