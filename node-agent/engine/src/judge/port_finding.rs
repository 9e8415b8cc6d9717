//! Opens, changes and resolves the finding of one port.

use crate::judge::port::PortJudge;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::Exposure;
use crate::model::pod::{Container, ContainerKind};
use crate::model::policy::PolicyVerdict;
use crate::model::reach::Reach;
use crate::read::render;
use crate::rules::container_match::{container, is_ephemeral};
use crate::rules::evaluate::{PodFact, PortFacts, verdict};
use crate::rules::{declaration, isolation};
use crate::state::bindings::Bindings;
use crate::state::findings::{Assessment, REPORT_INTERVAL, Raised, Subject};
use crate::state::pod_record::PodRecord;
use crate::state::storms::StormScope;

impl PortJudge<'_> {
    /// Opens, changes or resolves the port's finding. Returns when to judge the port again.
    pub(crate) fn judge_finding(&mut self, bindings: &Bindings, is_new_report: bool) -> Option<BootTime> {
        let facts = self.port_facts(bindings);
        self.settle_finding(&facts, bindings, is_new_report)
    }

    /// Opens the finding of a port that is about to close, or raises its code, if somebody from beyond the node called it in
    /// its last moments: its last traffic is drained after the close. The pod may be gone by then.
    pub(crate) fn judge_last_calls(&mut self, bindings: &Bindings) {
        let mut facts = self.port_facts(bindings);
        if facts.pod == PodFact::Departed {
            facts.pod = PodFact::Known;
        }
        let code = verdict(&facts).filter(|_| !self.port.unproven);
        if code != self.port.found && code.is_some_and(FindingCode::is_of_calls) {
            self.settle_finding(&facts, bindings, false);
        }
    }

    fn settle_finding(
        &mut self,
        facts: &PortFacts,
        bindings: &Bindings,
        is_new_report: bool,
    ) -> Option<BootTime> {
        let (id, now, options) = (self.id, self.context.now, self.context.options);
        // A port that may be a client's is listed, and makes no finding.
        let code = verdict(facts).filter(|_| !self.port.unproven);
        let is_counted = self.is_counted();
        let due = bindings.first_at.after(options.grace);
        // What explains a call may not be listed yet, shortly after the start.
        let listed = self.context.facts.services.known() && self.context.facts.policies.known();
        let waits = code.is_some_and(|code| !code.is_of_calls())
            || (code.is_some() && self.port.is_served() && !listed);
        if waits && !self.has_finding() && !is_counted && now < due {
            return Some(due);
        }
        self.port.found = code.or(self.port.found);
        let suppressed_by =
            code.and_then(|code| self.context.port_suppression((id, &*self.port), bindings, (code, facts)));
        // A suppressed finding is neither part of a storm nor hidden by one.
        let is_open = suppressed_by.is_none();
        self.count_finding(code.filter(|_| is_open));
        let is_hidden = is_open && code.is_some_and(|code| self.is_hidden(code));
        let Some(code) = code.filter(|_| !is_hidden) else {
            self.resolve_finding();
            return None;
        };
        let assessment = Assessment { code, policy: facts.policy, suppressed_by };
        let findings = &mut *self.context.findings;
        let raised = findings.raise(self.port.id, Subject::Port(id), assessment, bindings.first_at);
        let reported_at = findings.get(self.port.id).map_or(now, |record| record.reported_at);
        if raised == Raised::Same && !is_new_report {
            if !self.port.traffic().has_new_peers {
                return None;
            }
            if now < reported_at.after(REPORT_INTERVAL) {
                return Some(reported_at.after(REPORT_INTERVAL));
            }
        }
        if let Some(traffic) = &mut self.port.traffic {
            traffic.has_new_peers = false;
        }
        findings.mark_reported(self.port.id, now, options.repeat_findings);
        if !options.emits_reports {
            self.context.outbox.touch();
            return None;
        }
        let record = findings.get(self.port.id);
        let mut finding =
            record.map(|record| render::port_finding(self.context.facts, record, id, self.port, now));
        if let Some(finding) = &mut finding {
            finding.opened_at = bindings.opened_at.get().filter(|_| raised == Raised::Opened);
        }
        self.context.emit_finding(finding);
        None
    }

    /// Collects the facts that the verdict table needs.
    fn port_facts(&self, bindings: &Bindings) -> PortFacts {
        let (id, port, facts) = (self.id, &*self.port, &*self.context.facts);
        let host = self.is_host();
        let record = port.pod.and_then(|pod| facts.pods.get(pod));
        let pod = match record {
            Some(record) if record.departed.is_some() => PodFact::Departed,
            Some(_) => PodFact::Known,
            None if host => PodFact::Host,
            None => PodFact::Unknown,
        };
        let in_debug_container = |record: &PodRecord| {
            let is_debug = |container: &Container| container.kind == ContainerKind::Ephemeral;
            record.pod.containers.iter().any(is_debug)
                && bindings.processes().any(|process| is_ephemeral(container(&record.pod, process), process))
        };
        let exposure = bindings.exposure(host);
        let reach = match (id.protocol, exposure) {
            // Counted at the interface, although a loopback socket does not receive what arrives there.
            (Protocol::Udp | Protocol::Sctp, Exposure::Loopback) => port.judged_reach().min(Reach::Node),
            _ => port.judged_reach(),
        };
        PortFacts {
            pod,
            declaration: port.status,
            exposure,
            policy: record.map_or(PolicyVerdict::Unknown, |record| {
                isolation::verdict(facts.policies.known(), record.manifests(), id.protocol, id.port)
            }),
            reach,
            published: record
                .is_some_and(|record| declaration::has_host_port(&record.pod, id.protocol, id.port)),
            ephemeral: record.is_some_and(in_debug_container),
        }
    }

    /// True if the port is counted among those with findings: its grace time is over.
    fn is_counted(&self) -> bool {
        let mut scopes = StormScope::all_of(self.port.pod, self.id.netns);
        scopes.any(|scope| self.context.facts.storm(scope).is_some_and(|storm| storm.contains(self.id)))
    }

    /// True if one finding for many ports replaces the port's finding with this code.
    fn is_hidden(&self, code: FindingCode) -> bool {
        let scope = StormScope::of(self.port.pod, self.id.netns, code);
        let cap = scope.cap(self.context.options.storm_ports);
        self.context.facts.storm(scope).is_some_and(|storm| storm.hides(self.id, cap))
    }

    /// True if the finding with the port's id is open and about this port.
    fn has_finding(&self) -> bool {
        let record = self.context.findings.get(self.port.id);
        record.is_some_and(|record| record.subject == Subject::Port(self.id))
    }

    /// Resolves the port's finding, if one is open.
    pub(crate) fn resolve_finding(&mut self) {
        if !self.has_finding() {
            return;
        }
        if let Some(record) = self.context.findings.resolve(self.port.id) {
            let finding = render::port_finding(self.context.facts, &record, self.id, self.port, BootTime(0));
            self.context.emit_resolved(Some(finding));
        }
    }
}
