//! Judges pods: expected ports that nothing serves, and runtimes whose sockets the node's kernel does not see.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::change::Change;
use crate::model::finding::FindingState;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::{Owner, dangling_id, opaque_id, stale_id, storm_id};
use crate::model::identity::{BootTime, NetnsId, PodKey, PortId, ProtocolPort};
use crate::model::policy::PolicyVerdict;
use crate::rules::expectations::{Expectations, ExpectedBy};
use crate::state::findings::{Assessment, Raised, Subject};
use crate::state::port::Port;
use crate::state::timers::Timer;

/// More ports of a pod are expected than are looked at, or are not served than are told.
const EXPECTED_FULL: &str = "expected-ports-full";

impl Engine {
    /// Looks at the pods that live in a netns.
    pub(crate) fn check_pods_of(&mut self, netns: NetnsId, now: BootTime) {
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
    pub(crate) fn check_pod(&mut self, key: PodKey, now: BootTime) {
        self.check_runtime(key, now);
        let can_be_unserved = self.can_be_unserved(key);
        let netns = self.pods.netns(key, &self.netns);
        let Some(record) = self.pods.get_mut(key) else { return };
        let storm = storm_id(Owner::Pod(&record.pod.uid));
        let beyond_before = std::mem::take(&mut record.unserved.beyond);
        let mut ports: Vec<ProtocolPort> = record.expected.ports().chain(record.unserved.ports()).collect();
        ports.sort_unstable();
        ports.dedup();
        for at in ports {
            let (protocol, port) = at;
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let served = id.and_then(|id| self.ports.get(&id)).is_some_and(|port| !port.sockets.is_empty());
            self.check_expected(key, at, can_be_unserved && !served, now);
        }
        let beyond = self.pods.get(key).map_or(0, |record| record.unserved.beyond);
        self.refuse_many(EXPECTED_FULL, beyond.saturating_sub(beyond_before));
        self.check_storm(storm, now);
    }

    /// Resolves anew what is expected of a pod. True if it is something else than before.
    pub(crate) fn resolve_expectations(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get_mut(key) else { return false };
        let expected = Expectations::of(record.manifests());
        if expected == record.expected {
            return false;
        }
        let more = expected.beyond.saturating_sub(record.expected.beyond);
        record.expected = expected;
        self.refuse_many(EXPECTED_FULL, more);
        true
    }

    /// A storm stays what it is, but an exception may come or go.
    pub(crate) fn check_storm(&mut self, id: u64, now: BootTime) {
        if let Some(record) = self.findings.get(id) {
            let (subject, code, since) = (record.subject, record.assessment.code, record.first_seen);
            self.raise_pod_finding(id, subject, code, since, now);
        }
    }

    /// The same for the one port that is being judged.
    pub(crate) fn check_expected_port(&mut self, id: PortId, port: &Port, now: BootTime) {
        let Some(pod) = port.pod else { return };
        let unserved = port.sockets.is_empty() && self.can_be_unserved(pod);
        let beyond = |engine: &Self| engine.pods.get(pod).map_or(0, |record| record.unserved.beyond);
        let before = beyond(self);
        self.check_expected(pod, (id.protocol, id.port), unserved, now);
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

    fn check_expected(&mut self, key: PodKey, at: ProtocolPort, unserved: bool, now: BootTime) {
        let cap = self.options.storm_ports;
        let Some(record) = self.pods.get_mut(key) else { return };
        let Some(expects) = record.expected.get(at).filter(|_| unserved) else {
            if record.unserved.end(at) {
                if record.unserved.beyond > 0 {
                    // One that found no room may have it now.
                    self.timers.hasten(Timer::Pod(key), now);
                }
                self.settle_unserved(key, at, ExpectedBy::default(), now);
            }
            return;
        };
        let left_out = record.unserved.begin(at, now, cap);
        let since = record.unserved.since(at);
        if let Some(left_out) = left_out.filter(|left_out| *left_out != at) {
            self.settle_unserved(key, left_out, ExpectedBy::default(), now);
        }
        let Some(since) = since else { return };
        let due = since.after(self.options.stale_grace);
        if now < due {
            self.timers.hasten(Timer::Pod(key), due);
        }
        self.settle_unserved(key, at, expects, now);
    }

    /// Opens or resolves what is to be said of a port by whoever expects it and for how long it has been silent.
    fn settle_unserved(&mut self, key: PodKey, at: ProtocolPort, expects: ExpectedBy, now: BootTime) {
        let Some(record) = self.pods.get(key) else { return };
        let (protocol, port) = at;
        let uid = &record.pod.uid;
        let since = record.unserved.since(at).unwrap_or(now);
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
    fn can_be_unserved(&self, key: PodKey) -> bool {
        let netns = self.pods.netns(key, &self.netns).and_then(|netns| self.netns.get(netns));
        netns.is_some_and(crate::state::netns::Netns::is_scanned)
            && self.pods.get(key).is_some_and(|record| {
                record.departed.is_none()
                    && record.pod.ready != Some(false)
                    && record.pod.opaque_runtime.is_none()
            })
    }

    pub(crate) fn raise_pod_finding(
        &mut self,
        id: u64,
        subject: Subject,
        code: FindingCode,
        since: BootTime,
        now: BootTime,
    ) {
        let suppressed_by = self.subject_suppression(subject, code, now);
        let assessment = Assessment { code, policy: PolicyVerdict::Unknown, suppressed_by };
        if self.findings.raise(id, subject, assessment, since) == Raised::Same {
            return;
        }
        self.emit_pod_finding(id, now);
    }

    pub(crate) fn emit_pod_finding(&mut self, id: u64, now: BootTime) {
        self.findings.mark_reported(id, now);
        if let Some(finding) = self.render_pod_finding(id, now) {
            self.emit(Change::Finding(Arc::new(finding)));
        }
    }

    pub(crate) fn resolve_pod_finding(&mut self, id: u64, now: BootTime) {
        let finding = self.render_pod_finding(id, now);
        if self.findings.resolve(id).is_none() {
            return;
        }
        if let Some(mut finding) = finding {
            finding.state = FindingState::Resolved;
            self.emit(Change::Finding(Arc::new(finding)));
        }
    }
}
