//! What is judged per pod rather than per port: declarations and Services that nobody serves, storms of undeclared ports,
//! and runtimes that hide their sockets.

use std::sync::Arc;

use super::Engine;
use super::change::{Change, FindingState, PolicyVerdict};
use super::crowd::{Crowd, CrowdOf, Turn};
use super::expected::{At, Expected, Expects};
use super::finding_code::FindingCode;
use super::finding_store::{Raised, Stand, Subject};
use super::fingerprint::{Owner, dangling_id, opaque_id, stale_id, storm_id};
use super::identity::{BootTime, NetnsId, PortId};
use super::pod_index::PodKey;
use super::port::Port;
use super::timers::Timer;

/// More ports of a pod are expected than are looked at, or are not served than are told.
const EXPECTED_FULL: &str = "expected-ports-full";

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
        let can_be_silent = self.can_be_silent(key);
        let netns = self.pods.netns(key, &self.netns);
        let Some(record) = self.pods.get_mut(key) else { return };
        let storm = storm_id(Owner::Pod(&record.pod.uid));
        let beyond_before = std::mem::take(&mut record.silent.beyond);
        let mut ports: Vec<At> = record.expected.ports().chain(record.silent.ports()).collect();
        ports.sort_unstable();
        ports.dedup();
        for at in ports {
            let (protocol, port) = at;
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let served = id.and_then(|id| self.ports.get(&id)).is_some_and(|port| !port.sockets.is_empty());
            self.check_expected(key, at, can_be_silent && !served, now);
        }
        let beyond = self.pods.get(key).map_or(0, |record| record.silent.beyond);
        self.refuse_many(EXPECTED_FULL, beyond.saturating_sub(beyond_before));
        self.check_storm(storm, now);
    }

    /// Resolves anew what is expected of a pod. True if it is something else than before.
    pub(super) fn expect(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get_mut(key) else { return false };
        let expected = Expected::of(record.manifests());
        if expected == record.expected {
            return false;
        }
        let more = expected.beyond.saturating_sub(record.expected.beyond);
        record.expected = expected;
        self.refuse_many(EXPECTED_FULL, more);
        true
    }

    /// A storm stays what it is, but an exception may come or go.
    pub(super) fn check_storm(&mut self, id: u64, now: BootTime) {
        if let Some(record) = self.findings.get(id) {
            let (subject, code, since) = (record.subject, record.stand.code, record.first_seen);
            self.raise_pod_finding(id, subject, code, since, now);
        }
    }

    /// The same for the one port that is being judged.
    pub(super) fn check_expected_port(&mut self, id: PortId, port: &Port, now: BootTime) {
        let Some(pod) = port.pod else { return };
        let silent = port.sockets.is_empty() && self.can_be_silent(pod);
        let beyond = |engine: &Self| engine.pods.get(pod).map_or(0, |record| record.silent.beyond);
        let before = beyond(self);
        self.check_expected(pod, (id.protocol, id.port), silent, now);
        self.refuse_many(EXPECTED_FULL, beyond(self).saturating_sub(before));
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

    fn check_expected(&mut self, key: PodKey, at: At, silent: bool, now: BootTime) {
        let cap = self.options.storm_ports;
        let Some(record) = self.pods.get_mut(key) else { return };
        let Some(expects) = record.expected.get(at).filter(|_| silent) else {
            if record.silent.end(at) {
                if record.silent.beyond > 0 {
                    // One that found no room may have it now.
                    self.timers.hasten(Timer::Pod(key), now);
                }
                self.settle_silent(key, at, Expects::default(), now);
            }
            return;
        };
        let left_out = record.silent.begin(at, now, cap);
        let since = record.silent.since(at);
        if let Some(left_out) = left_out.filter(|left_out| *left_out != at) {
            self.settle_silent(key, left_out, Expects::default(), now);
        }
        let Some(since) = since else { return };
        let due = since.after(self.options.stale_grace);
        if now < due {
            self.timers.hasten(Timer::Pod(key), due);
        }
        self.settle_silent(key, at, expects, now);
    }

    /// Opens or resolves what is to be said of a port by whoever expects it and for how long it has been silent.
    fn settle_silent(&mut self, key: PodKey, at: At, expects: Expects, now: BootTime) {
        let Some(record) = self.pods.get(key) else { return };
        let (protocol, port) = at;
        let uid = &record.pod.uid;
        let since = record.silent.since(at).unwrap_or(now);
        let stale = (stale_id(uid, protocol, port.get()), Subject::Stale(key, protocol, port));
        let dangling = (dangling_id(uid, protocol, port.get()), Subject::Dangling(key, protocol, port));
        let findings = [
            (expects.declared, stale, FindingCode::StaleDeclaration),
            (expects.targeted, dangling, FindingCode::DanglingServicePort),
        ];
        for (holds, (id, subject), code) in findings {
            if !holds {
                self.resolve_pod_finding(id, now);
            } else if now >= since.after(self.options.stale_grace) {
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
