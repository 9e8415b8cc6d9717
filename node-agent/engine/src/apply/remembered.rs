//! Applies what an earlier run of the agent remembered.

use crate::engine::Engine;
use crate::model::identity::{BootTime, PortId};
use crate::model::remembered::RememberedFinding;
use crate::state::findings::Raised;

/// Loss reason: more findings were remembered than are kept.
const REMEMBERED_FULL: &str = "remembered-findings-full";

impl Engine {
    /// Takes in the findings of an earlier run, and judges again what they are about.
    pub(crate) fn findings_remembered(&mut self, findings: Vec<RememberedFinding>, now: BootTime) {
        let (most, grace) = (self.options.max_listeners, self.options.stale_grace);
        let beyond = self.findings.remembered.tell(findings, most, grace, now);
        self.outbox.refuse_many(REMEMBERED_FULL, beyond);
        let remembered = &self.findings.remembered;
        let known: Vec<PortId> =
            self.ports.iter().filter(|(_, port)| remembered.contains(port.id)).map(|(id, _)| id).collect();
        self.agenda.judge_all(known);
        self.recall_pod_findings(now);
    }

    /// Corrects the beginning of open findings that are not about a served port.
    fn recall_pod_findings(&mut self, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        let findings = &*context.findings;
        let open = findings
            .iter()
            .filter(|(id, record)| record.subject.port().is_none() && findings.remembered.contains(*id));
        let open: Vec<u64> = open.map(|(id, _)| id).collect();
        for id in open {
            let Some(record) = context.findings.get(id).cloned() else { continue };
            let raised = context.findings.raise(id, record.subject, record.assessment, record.first_seen);
            if raised == Raised::Same {
                continue;
            }
            context.findings.mark_reported(id, now, context.options.repeat_findings);
            context.emit_open(ports, id);
        }
    }
}
