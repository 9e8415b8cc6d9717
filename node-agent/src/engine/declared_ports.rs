//! What is judged per pod rather than per port: declarations and Services that nobody serves, storms of undeclared ports,
//! and runtimes that hide their sockets.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::change::{Change, FindingState, PolicyVerdict};
use super::crowd::{Crowd, CrowdOf, Turn};
use super::declaration::{declared_ports, ought_to_listen, service_targets};
use super::finding_code::FindingCode;
use super::finding_store::{Raised, Stand, Subject};
use super::fingerprint::{Owner, dangling_id, opaque_id, stale_id, storm_id};
use super::identity::{BootTime, NetnsId, PortId, Protocol};
use super::pod_index::PodKey;
use super::port::Port;
use super::timers::Timer;

impl Engine {
    /// Looks at the pods that live in a netns.
    pub(super) fn check_pods_of(&mut self, netns: NetnsId, now: BootTime) {
        let pods: Vec<PodKey> = if self.netns.is_host(netns) {
            self.pods.in_host_network().collect()
        } else {
            self.pods.in_netns(netns).into_iter().collect()
        };
        for pod in pods {
            self.check_pod(pod, now);
        }
    }

    /// Looks at a pod's runtime, and at every port of it that ought to be served.
    pub(super) fn check_pod(&mut self, key: PodKey, now: BootTime) {
        self.check_runtime(key, now);
        let Some(record) = self.pods.get(key) else { return };
        let storm = storm_id(Owner::Pod(&record.pod.uid));
        let mut ports: Vec<(Protocol, NonZeroU16)> = declared_ports(&record.pod)
            .chain(service_targets(record.manifests()))
            .chain(record.silent.keys().copied())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        self.check_ports(key, ports.into_iter(), now);
        self.check_storm(storm, now);
    }

    /// A storm stays what it is, but an exception may come or go.
    pub(super) fn check_storm(&mut self, id: u64, now: BootTime) {
        if let Some(record) = self.findings.get(id) {
            let (subject, code, since) = (record.subject, record.stand.code, record.first_seen);
            self.raise_pod_finding(id, subject, code, since, now);
        }
    }

    /// Looks at these ports of a pod, if they ought to be served.
    pub(super) fn check_ports(
        &mut self,
        key: PodKey,
        ports: impl Iterator<Item = (Protocol, NonZeroU16)>,
        now: BootTime,
    ) {
        let netns = self.pods.netns(key, &self.netns);
        for (protocol, port) in ports {
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let served = id.and_then(|id| self.ports.get(&id)).is_some_and(|port| !port.sockets.is_empty());
            self.check_expected(key, protocol, port, served, now);
        }
    }

    /// The same for the one port that is being judged.
    pub(super) fn check_expected_port(&mut self, id: PortId, port: &Port, now: BootTime) {
        if let Some(pod) = port.pod {
            self.check_expected(pod, id.protocol, id.port, !port.sockets.is_empty(), now);
        }
    }

    fn check_runtime(&mut self, key: PodKey, now: BootTime) {
        let Some(record) = self.pods.get(key) else { return };
        let id = opaque_id(&record.pod.uid);
        if record.departed.is_none() && record.pod.opaque_runtime.is_some() {
            self.raise_pod_finding(id, Subject::Opaque(key), FindingCode::OpaqueRuntime, now, now);
        } else {
            self.resolve_pod_finding(id, now);
        }
    }

    fn check_expected(
        &mut self,
        key: PodKey,
        protocol: Protocol,
        port: NonZeroU16,
        served: bool,
        now: BootTime,
    ) {
        let silent = !served && self.can_be_silent(key);
        let Some(record) = self.pods.get_mut(key) else { return };
        let stale = silent && ought_to_listen(&record.pod, protocol, port);
        let dangling = silent && service_targets(record.manifests()).any(|target| target == (protocol, port));
        let known = record.silent.contains_key(&(protocol, port));
        if !stale && !dangling && !known {
            return;
        }
        let uid = &record.pod.uid;
        let findings = [
            (stale, stale_id(uid, protocol, port.get()), FindingCode::StaleDeclaration),
            (dangling, dangling_id(uid, protocol, port.get()), FindingCode::DanglingServicePort),
        ];
        if !stale && !dangling {
            record.silent.remove(&(protocol, port));
        }
        let since =
            if stale || dangling { *record.silent.entry((protocol, port)).or_insert(now) } else { now };
        let due = since.after(self.options.stale_grace);
        if now < due && (stale || dangling) {
            self.timers.hasten(Timer::Pod(key), due);
        }
        for (holds, id, code) in findings {
            if !holds {
                self.resolve_pod_finding(id, now);
            } else if now >= due {
                let subject = if code == FindingCode::StaleDeclaration {
                    Subject::Stale(key, protocol, port)
                } else {
                    Subject::Dangling(key, protocol, port)
                };
                self.raise_pod_finding(id, subject, code, since, now);
            }
        }
    }

    /// True if a port of this pod that nobody serves means something: its netns was listed, all its containers are ready
    /// as far as known, and its sockets are this kernel's.
    fn can_be_silent(&self, key: PodKey) -> bool {
        let netns = self.pods.netns(key, &self.netns).and_then(|netns| self.netns.get(netns));
        netns.is_some_and(super::netns_index::Netns::is_scanned)
            && self.pods.get(key).is_some_and(|record| {
                record.departed.is_none()
                    && record.pod.ready != Some(false)
                    && record.pod.opaque_runtime.is_none()
            })
    }

    /// Counts a port among those that make findings, or not any more.
    pub(super) fn enrol(&mut self, of: CrowdOf, id: PortId, code: Option<FindingCode>) {
        let crowd = match of {
            CrowdOf::Pod(key) => self.pods.get_mut(key).map(|record| &mut record.crowd),
            CrowdOf::Netns(netns) => self.netns.get_mut(netns).map(|netns| &mut netns.crowd),
        };
        let turn = crowd.and_then(|crowd| crowd.enrol(id, code, self.options.storm_ports, &mut self.dirty));
        self.storms.extend(turn.map(|turn| (of, turn)));
    }

    pub(super) fn crowd(&self, of: CrowdOf) -> Option<&Crowd> {
        match of {
            CrowdOf::Pod(key) => self.pods.get(key).map(|record| &record.crowd),
            CrowdOf::Netns(netns) => self.netns.get(netns).map(|netns| &netns.crowd),
        }
    }

    /// Tells storms that began, grew markedly, or ended since.
    pub(super) fn tell_storms(&mut self, now: BootTime) {
        for (of, turn) in std::mem::take(&mut self.storms) {
            let (id, code) = match of {
                CrowdOf::Pod(key) => {
                    let Some(record) = self.pods.get(key) else { continue };
                    (storm_id(Owner::Pod(&record.pod.uid)), FindingCode::PortStorm)
                }
                // A crowd does not make worse what cannot be judged.
                CrowdOf::Netns(netns) => (storm_id(Owner::Netns(netns)), FindingCode::Unattributed),
            };
            match turn {
                Turn::Began => self.raise_pod_finding(id, Subject::Storm(of), code, now, now),
                Turn::Grew => self.tell_pod_finding(id, now),
                Turn::Ended => self.resolve_pod_finding(id, now),
            }
        }
    }

    fn raise_pod_finding(
        &mut self,
        id: u64,
        subject: Subject,
        code: FindingCode,
        since: BootTime,
        now: BootTime,
    ) {
        let suppressed_by = self.subject_suppression(subject, code, now);
        let stand = Stand { code, policy: PolicyVerdict::Unknown, suppressed_by };
        if self.findings.raise(id, subject, stand, since) == Raised::Same {
            return;
        }
        self.tell_pod_finding(id, now);
    }

    fn tell_pod_finding(&mut self, id: u64, now: BootTime) {
        self.findings.tell(id, now);
        if let Some(finding) = self.render_pod_finding(id, now) {
            self.tell(Change::Finding(Arc::new(finding)));
        }
    }

    fn resolve_pod_finding(&mut self, id: u64, now: BootTime) {
        let finding = self.render_pod_finding(id, now);
        if self.findings.resolve(id).is_none() {
            return;
        }
        if let Some(mut finding) = finding {
            finding.state = FindingState::Resolved;
            self.tell(Change::Finding(Arc::new(finding)));
        }
    }
}
