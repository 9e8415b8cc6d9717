//! Judges pods: expected ports that nothing serves, and runtimes whose sockets the node's kernel does not see.

use crate::engine::Engine;
use crate::judge::context::JudgeContext;
use crate::model::change::Change;
use crate::model::families::Families;
use crate::model::finding::Finding;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::{Owner, dangling_id, opaque_id, quiet_storm_id, stale_id, storm_id};
use crate::model::identity::{BootTime, NetnsId, PodKey, PortId, Protocol, ProtocolPort};
use crate::model::pod::Pod;
use crate::model::policy::PolicyVerdict;
use crate::read::render;
use crate::rules::expectations::Expectations;
use crate::rules::mesh;
use crate::state::findings::{Assessment, Raised, Subject};
use crate::state::port::Port;
use crate::state::timers::Timer;
use crate::state::unserved::{Refusal, Shortfall};

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
        let is_service_ready = record.pod.is_service_ready();
        let storms = [storm_id(Owner::Pod(&record.pod.uid)), quiet_storm_id(&record.pod.uid)];
        let beyond_before = std::mem::take(&mut record.unserved.beyond);
        let mut to_check: Vec<ProtocolPort> =
            record.expected.ports().chain(record.unserved.ports()).collect();
        to_check.sort_unstable();
        to_check.dedup();
        for at in to_check {
            let (protocol, port) = at;
            let id = netns.map(|netns| PortId { netns, protocol, port });
            let shortfall = if can_be_unserved {
                context.shortfall(key, at, id.and_then(|id| ports.get(id)))
            } else {
                Shortfall::default()
            };
            context.check_expected(key, at, shortfall);
        }
        context.refuse_beyond(key, beyond_before);
        context.check_names(key, can_be_unserved && is_service_ready);
        for storm in storms {
            self.check_storm(storm, now);
        }
    }

    /// Judges every port of a pod, and the pod itself.
    pub(crate) fn judge_pod(&mut self, key: PodKey, now: BootTime) {
        if let Some(record) = self.facts.pods.get(key) {
            self.agenda.judge_all(record.ports.iter().copied());
        }
        self.check_pod(key, now);
    }

    /// Resolves again which ports of a pod are expected to be served. True if the answer changed.
    pub(crate) fn resolve_expectations(&mut self, key: PodKey, now: BootTime) -> bool {
        let Some(record) = self.facts.pods.get_mut(key) else { return false };
        // A deleted pod is not expected to serve.
        let is_live = record.departed.is_none();
        let expected = if is_live { Expectations::of(record.manifests()) } else { Expectations::default() };
        if expected == record.expected {
            return false;
        }
        let more = expected.beyond.saturating_sub(record.expected.beyond);
        for lacking in self.facts.named_targets.replace(key, &record.expected, &expected) {
            // Whether another pod declares the name changed.
            self.agenda.hasten(Timer::Pod(lacking), now);
        }
        record.expected = expected;
        self.outbox.refuse_many(EXPECTED_FULL, more);
        true
    }
}

impl JudgeContext<'_> {
    /// Checks whether the one port that is being judged serves those who expect it.
    pub(crate) fn check_expected_port(&mut self, pod: PodKey, at: ProtocolPort, port: &Port) {
        let shortfall = self.shortfall(pod, at, Some(port));
        let before = self.beyond(pod);
        let is_wrong = !shortfall.is_none() && self.can_be_unserved(pod);
        self.check_expected(pod, at, if is_wrong { shortfall } else { Shortfall::default() });
        self.refuse_beyond(pod, before);
    }

    fn check_runtime(&mut self, key: PodKey) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let id = opaque_id(&record.pod.uid);
        if record.departed.is_none() && record.pod.opaque_runtime.is_some() {
            self.raise_pod_finding(id, Subject::Opaque(key), FindingCode::OpaqueRuntime, self.now, false);
        } else {
            self.resolve_pod_finding(id);
        }
    }

    /// Returns what is wrong with an expected port of a pod. `port`: the port as its netns has it.
    fn shortfall(&self, key: PodKey, at: ProtocolPort, port: Option<&Port>) -> Shortfall {
        let Some(record) = self.facts.pods.get(key) else { return Shortfall::default() };
        let expects = record.expected.get(at).unwrap_or_default();
        let targeted = expects.sent_to(&record.pod);
        let refusal = refusal(&record.pod, at, port, targeted);
        Shortfall {
            // Whoever declares a port that listens on loopback means what runs beside it in the pod.
            stale: expects.declared && !port.is_some_and(Port::is_served),
            dangling: refusal.filter(|_| !targeted.is_empty()),
        }
    }

    fn check_expected(&mut self, key: PodKey, at: ProtocolPort, shortfall: Shortfall) {
        let cap = self.options.storm_ports;
        let Some(record) = self.facts.pods.get_mut(key) else { return };
        if shortfall.is_none() {
            if record.unserved.end(at) {
                if record.unserved.beyond > 0 {
                    // A port that did not fit may fit now.
                    self.agenda.hasten(Timer::Pod(key), self.now);
                }
                self.settle_unserved(key, at, false);
            }
            return;
        }
        let updated = record.unserved.update(at, shortfall, self.now, cap);
        let unserved = record.unserved.get(at);
        if updated.is_new && unserved.is_some() {
            self.watch_unserved(key, at);
        }
        if let Some(left_out) = updated.left_out.filter(|left_out| *left_out != at) {
            self.settle_unserved(key, left_out, false);
        }
        let Some(unserved) = unserved else { return };
        let refused_since = unserved.dangling_since.map(|(since, _)| since);
        for since in unserved.stale_since.into_iter().chain(refused_since) {
            let due = since.after(self.options.stale_grace);
            if self.now < due {
                self.agenda.hasten(Timer::Pod(key), due);
            }
        }
        self.settle_unserved(key, at, updated.has_other_reason);
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

    /// Opens or resolves the findings of an expected port, by what is wrong with it and since when. `is_news`: reports
    /// `dangling-service-port` again, because calls are refused for another reason now.
    fn settle_unserved(&mut self, key: PodKey, at: ProtocolPort, is_news: bool) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let (protocol, port) = at;
        let uid = &record.pod.uid;
        let unserved = record.unserved.get(at).unwrap_or_default();
        let refused_since = unserved.dangling_since.map(|(since, _)| since);
        let stale = (stale_id(uid, protocol, port.get()), Subject::Stale(key, protocol, port));
        let dangling = (dangling_id(uid, protocol, port.get()), Subject::Dangling(key, protocol, port));
        let findings = [
            (unserved.stale_since, stale, FindingCode::StaleDeclaration, false),
            (refused_since, dangling, FindingCode::DanglingServicePort, is_news),
        ];
        for (since, (id, subject), code, is_news) in findings {
            match since {
                None => self.resolve_pod_finding(id),
                Some(since) if self.now >= since.after(self.options.stale_grace) => {
                    self.raise_pod_finding(id, subject, code, since, is_news);
                }
                Some(_) => {}
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

    /// Opens or changes a finding about a pod. `is_news`: reports it again if it was open already.
    pub(crate) fn raise_pod_finding(
        &mut self,
        id: u64,
        subject: Subject,
        code: FindingCode,
        since: BootTime,
        is_news: bool,
    ) {
        let is_changed = self.raise(id, subject, code, since);
        if is_news && !is_changed {
            self.findings.mark_reported(id, self.now, self.options.repeat_findings);
        }
        if is_news || is_changed {
            let finding =
                self.findings.get(id).and_then(|record| render::pod_finding(self.facts, id, record));
            self.emit_finding(finding.map(|finding| self.seen_now(finding)));
        }
    }

    pub(crate) fn resolve_pod_finding(&mut self, id: u64) {
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

/// Returns why what Services send to a port is refused; `None` if it is taken, by a socket or by what the port is
/// redirected or forwarded to. `families`: those in which Services send.
fn refusal(
    pod: &Pod,
    (protocol, _): ProtocolPort,
    port: Option<&Port>,
    families: Families,
) -> Option<Refusal> {
    let Some(port) = port.filter(|port| port.is_served()) else { return Some(Refusal::Nobody) };
    let is_led = port.forward.is_some() || port.redirect.is_some();
    if is_led || (protocol == Protocol::Tcp && mesh::has_proxy(pod)) {
        return None;
    }
    let bindings = port.bindings.as_ref()?;
    if bindings.accepts(families, &pod.addresses) {
        None
    } else if bindings.beyond_loopback {
        Some(Refusal::Elsewhere)
    } else {
        Some(Refusal::Loopback)
    }
}
