//! Judges pods: expected ports that nothing serves, and runtimes whose sockets the node's kernel does not see.

use crate::engine::Engine;
use crate::judge::context::JudgeContext;
use crate::model::change::Change;
use crate::model::finding::Finding;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::{Owner, dangling_id, opaque_id, stale_id, storm_id};
use crate::model::identity::{BootTime, NetnsId, PodKey, PortId, Protocol, ProtocolPort};
use crate::model::policy::PolicyVerdict;
use crate::read::render;
use crate::rules::expectations::{Expectations, ExpectedBy};
use crate::state::findings::{Assessment, Raised, Subject};
use crate::state::port::Port;
use crate::state::timers::Timer;

/// Loss reason: a pod has more expected ports than are kept, or more unserved ports than are reported.
const EXPECTED_FULL: &str = "expected-ports-full";

impl Engine {
    /// Checks the pods that live in a netns.
    pub(crate) fn check_pods_of(&mut self, netns: NetnsId, now: BootTime) {
        let pods: Vec<PodKey> = if self.facts.netns.is_host(netns) {
            self.facts.pods.in_host_network().collect()
        } else {
            self.facts.pods.in_netns(netns).into_iter().collect()
        };
        for pod in pods {
            self.check_pod(pod, now);
        }
    }

    /// Checks a pod's runtime, each port of the pod that is expected to be served, and its storm.
    pub(crate) fn check_pod(&mut self, key: PodKey, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        context.check_runtime(key);
        let can_be_unserved = context.can_be_unserved(key);
        let netns = context.facts.netns_of(key);
        let Some(record) = context.facts.pods.get_mut(key) else { return };
        let storm = storm_id(Owner::Pod(&record.pod.uid));
        let beyond_before = std::mem::take(&mut record.unserved.beyond);
        let mut to_check: Vec<ProtocolPort> =
            record.expected.ports().chain(record.unserved.ports()).collect();
        to_check.sort_unstable();
        to_check.dedup();
        for at in to_check {
            let (protocol, port) = at;
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let served = id.and_then(|id| ports.get(id)).is_some_and(Port::is_served);
            context.check_expected(key, at, can_be_unserved && !served);
        }
        context.refuse_beyond(key, beyond_before);
        self.check_storm(storm, now);
    }

    /// Judges every port of a pod, and the pod itself.
    pub(crate) fn judge_pod(&mut self, key: PodKey, now: BootTime) {
        if let Some(record) = self.facts.pods.get(key) {
            self.agenda.judge_all(record.ports.iter().copied());
        }
        self.check_pod(key, now);
    }

    /// Resolves again which ports of a pod are expected to be served. True if the answer changed.
    pub(crate) fn resolve_expectations(&mut self, key: PodKey) -> bool {
        let Some(record) = self.facts.pods.get_mut(key) else { return false };
        let expected = Expectations::of(record.manifests());
        if expected == record.expected {
            return false;
        }
        let more = expected.beyond.saturating_sub(record.expected.beyond);
        record.expected = expected;
        self.outbox.refuse_many(EXPECTED_FULL, more);
        true
    }
}

impl JudgeContext<'_> {
    /// Checks whether the one port that is being judged is expected but not served.
    pub(crate) fn check_expected_port(&mut self, pod: PodKey, at: ProtocolPort, is_served: bool) {
        let is_unserved = !is_served && self.can_be_unserved(pod);
        let before = self.beyond(pod);
        self.check_expected(pod, at, is_unserved);
        self.refuse_beyond(pod, before);
    }

    fn check_runtime(&mut self, key: PodKey) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let id = opaque_id(&record.pod.uid);
        if record.departed.is_none() && record.pod.opaque_runtime.is_some() {
            self.raise_pod_finding(id, Subject::Opaque(key), FindingCode::OpaqueRuntime, self.now);
        } else {
            self.resolve_pod_finding(id);
        }
    }

    fn check_expected(&mut self, key: PodKey, at: ProtocolPort, is_unserved: bool) {
        let cap = self.options.storm_ports;
        let Some(record) = self.facts.pods.get_mut(key) else { return };
        let Some(expects) = record.expected.get(at).filter(|_| is_unserved) else {
            if record.unserved.end(at) {
                if record.unserved.beyond > 0 {
                    // A port that did not fit may fit now.
                    self.agenda.hasten(Timer::Pod(key), self.now);
                }
                self.settle_unserved(key, at, ExpectedBy::default());
            }
            return;
        };
        let was_unserved = record.unserved.since(at).is_some();
        let left_out = record.unserved.begin(at, self.now, cap);
        let since = record.unserved.since(at);
        if !was_unserved && since.is_some() {
            self.watch_unserved(key, at);
        }
        if let Some(left_out) = left_out.filter(|left_out| *left_out != at) {
            self.settle_unserved(key, left_out, ExpectedBy::default());
        }
        let Some(since) = since else { return };
        let due = since.after(self.options.stale_grace);
        if self.now < due {
            self.agenda.hasten(Timer::Pod(key), due);
        }
        self.settle_unserved(key, at, expects);
    }

    /// Asks the kernel side to count an expected port that no socket serves. A rule of the netns may redirect or forward it, and
    /// the first call brings its data along with its handshake.
    fn watch_unserved(&mut self, key: PodKey, (protocol, port): ProtocolPort) {
        let netns = self.facts.netns_of(key).filter(|netns| !self.facts.netns.is_host(*netns));
        if let Some(netns) = netns
            && protocol == Protocol::Tcp
        {
            self.outbox.push(Change::Watch(PortId { netns, protocol, port }));
        }
    }

    /// Opens or resolves the findings of an unserved port, by what expects it and since when it is unserved.
    fn settle_unserved(&mut self, key: PodKey, at: ProtocolPort, expects: ExpectedBy) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let (protocol, port) = at;
        let uid = &record.pod.uid;
        let since = record.unserved.since(at).unwrap_or(self.now);
        let stale = (stale_id(uid, protocol, port.get()), Subject::Stale(key, protocol, port));
        let dangling = (dangling_id(uid, protocol, port.get()), Subject::Dangling(key, protocol, port));
        let is_sent_to =
            expects.targeted && (expects.targeted_not_ready || record.pod.service_ready != Some(false));
        let findings = [
            (expects.declared, stale, FindingCode::StaleDeclaration),
            (is_sent_to, dangling, FindingCode::DanglingServicePort),
        ];
        for (holds, (id, subject), code) in findings {
            if !holds {
                self.resolve_pod_finding(id);
            } else if self.now >= since.after(self.options.stale_grace) {
                self.raise_pod_finding(id, subject, code, since);
            }
        }
    }

    /// True if an unserved port of this pod is worth a finding: its netns was scanned, all its containers are ready as far
    /// as known, it is not being deleted, and its sockets are visible to this kernel. Those of a virtual machine in the pod
    /// are not.
    fn can_be_unserved(&self, key: PodKey) -> bool {
        self.facts.is_scanned(key)
            && !self.facts.has_guest(key)
            && self.facts.pods.get(key).is_some_and(|record| {
                record.departed.is_none()
                    && record.pod.ready != Some(false)
                    && !record.pod.draining
                    && record.pod.opaque_runtime.is_none()
            })
    }

    /// Number of unserved ports of a pod that did not fit.
    fn beyond(&self, key: PodKey) -> usize {
        self.facts.pods.get(key).map_or(0, |record| record.unserved.beyond)
    }

    fn refuse_beyond(&mut self, key: PodKey, before: usize) {
        let beyond = self.beyond(key);
        self.outbox.refuse_many(EXPECTED_FULL, beyond.saturating_sub(before));
    }

    fn raise_pod_finding(&mut self, id: u64, subject: Subject, code: FindingCode, since: BootTime) {
        if self.raise(id, subject, code, since) {
            let finding =
                self.findings.get(id).and_then(|record| render::pod_finding(self.facts, id, record));
            self.emit_finding(finding.map(|finding| self.seen_now(finding)));
        }
    }

    fn resolve_pod_finding(&mut self, id: u64) {
        if let Some(record) = self.findings.resolve(id) {
            let finding = render::pod_finding(self.facts, id, &record);
            self.emit_resolved(finding.map(|finding| self.seen_now(finding)));
        }
    }

    /// Opens or changes a finding that is not about a served port, and marks it as reported. False if nothing changed.
    pub(crate) fn raise(&mut self, id: u64, subject: Subject, code: FindingCode, since: BootTime) -> bool {
        let suppressed_by = self.subject_suppression(subject, code);
        let assessment = Assessment { code, policy: PolicyVerdict::Unknown, suppressed_by };
        let is_news = self.findings.raise(id, subject, assessment, since) != Raised::Same;
        if is_news {
            self.findings.mark_reported(id, self.now, self.options.repeat_findings);
        }
        is_news
    }

    pub(crate) fn seen_now(&self, finding: Finding) -> Finding {
        Finding { last_seen: finding.last_seen.max(self.now), ..finding }
    }
}
