//! What is judged per pod rather than per port: declarations that nobody serves, and storms of undeclared ports.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::change::{Change, FindingCode, FindingState};
use super::declaration::declared_ports;
use super::finding_store::{Raised, Subject};
use super::fingerprint::{stale_id, storm_id};
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

    /// Counts a port among its pod's undeclared ones, or not any more; a storm begins above the cap and ends well below.
    pub(super) fn enrol(&mut self, key: PodKey, id: PortId, undeclared: bool) {
        let cap = self.options.storm_ports;
        let Some(record) = self.pods.get_mut(key) else { return };
        let changed = if undeclared { record.undeclared.insert(id) } else { record.undeclared.remove(&id) };
        if !changed {
            return;
        }
        let count = record.undeclared.len();
        let storm = if record.storm { count > cap - cap / 4 } else { count > cap };
        if storm == record.storm {
            return;
        }
        record.storm = storm;
        let finding = storm_id(&record.pod.uid);
        self.dirty.extend(record.undeclared.iter().copied().filter(|other| *other != id));
        self.storms.push((key, finding, storm));
    }

    /// Tells storms that began or ended since.
    pub(super) fn tell_storms(&mut self, now: BootTime) {
        for (key, finding, storm) in std::mem::take(&mut self.storms) {
            if storm {
                self.raise_pod_finding(finding, Subject::Storm(key), FindingCode::PortStorm, now, now);
            } else {
                self.resolve_pod_finding(finding, now);
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
