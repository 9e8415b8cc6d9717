//! What is judged per pod rather than per port: declarations that nobody serves, and storms of undeclared ports.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::change::{Change, FindingCode, FindingState};
use super::crowd::{Crowd, CrowdOf, Turn};
use super::declaration::declared_ports;
use super::finding_store::{Raised, Subject};
use super::fingerprint::{Owner, stale_id, storm_id};
use super::identity::{BootTime, NetnsId, PortId, Protocol};
use super::pod_index::PodKey;
use super::port::Port;
use super::timers::Timer;

impl Engine {
    /// Looks at every declared port of the pods that live in a netns.
    pub(super) fn check_pods_of(&mut self, netns: NetnsId, now: BootTime) {
        let pods: Vec<PodKey> = if self.netns.is_host(netns) {
            self.pods.live().filter(|(_, record)| record.pod.host_network).map(|(key, _)| key).collect()
        } else {
            self.pods.in_netns(netns).into_iter().collect()
        };
        for pod in pods {
            self.check_declared_ports(pod, now);
        }
    }

    /// Looks at every declared port of a pod.
    pub(super) fn check_declared_ports(&mut self, key: PodKey, now: BootTime) {
        let Some(record) = self.pods.get(key) else { return };
        let mut ports: Vec<(Protocol, NonZeroU16)> =
            declared_ports(&record.pod).chain(record.silent.keys().copied()).collect();
        ports.sort_unstable();
        ports.dedup();
        let netns = self.pods.netns(key, &self.netns);
        for (protocol, port) in ports {
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let served = id.and_then(|id| self.ports.get(&id)).is_some_and(|port| !port.sockets.is_empty());
            self.check_declared(key, protocol, port, served, now);
        }
    }

    /// The same for the one port that is being judged.
    pub(super) fn check_declared_port(&mut self, id: PortId, port: &Port, now: BootTime) {
        if let Some(pod) = port.pod {
            self.check_declared(pod, id.protocol, id.port, !port.sockets.is_empty(), now);
        }
    }

    fn check_declared(
        &mut self,
        key: PodKey,
        protocol: Protocol,
        port: NonZeroU16,
        served: bool,
        now: BootTime,
    ) {
        let scanned = self
            .pods
            .netns(key, &self.netns)
            .and_then(|netns| self.netns.get(netns))
            .is_some_and(super::netns_index::Netns::is_scanned);
        let Some(record) = self.pods.get_mut(key) else { return };
        let declared = super::declaration::is_declared(&record.pod, protocol, port);
        let id = stale_id(&record.pod.uid, protocol, port.get());
        if served || !declared || !scanned || record.departed.is_some() {
            if record.silent.remove(&(protocol, port)).is_some() {
                self.resolve_pod_finding(id, now);
            }
            return;
        }
        let since = *record.silent.entry((protocol, port)).or_insert(now);
        let due = since.after(self.options.stale_grace);
        if now < due {
            self.timers.hasten(Timer::Pod(key), due);
            return;
        }
        self.raise_pod_finding(
            id,
            Subject::Stale(key, protocol, port),
            FindingCode::StaleDeclaration,
            since,
            now,
        );
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
        if self.findings.raise(id, subject, code, since) == Raised::Same {
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
