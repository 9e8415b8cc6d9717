//! Reports findings again: open ones that were not reported for long, so that a log keeps them in view, and those of a pod
//! whose workload became known.

use crate::engine::Engine;
use crate::model::finding::FindingState;
use crate::model::identity::BootTime;
use crate::state::findings::Assessment;

/// Maximum number of findings that one call reports again; the rest follows at once in the next call.
const MOST: usize = 64;

impl Engine {
    /// Reports the findings again that are due. A suppressed finding is not repeated.
    pub(crate) fn repeat_findings(&mut self, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        for _ in 0..MOST {
            let Some(id) = context.findings.due_for_repeat(now) else { return };
            context.findings.mark_reported(id, now, context.options.repeat_findings);
            if context.findings.get(id).is_some_and(|record| record.state() == FindingState::Open) {
                context.emit_open(ports, id);
            }
        }
    }

    /// Reports findings again whose fingerprint changed with the workload or the sole container of their pod, unless they ended
    /// or were reported since, because their assessment changed. `findings`: with the assessments of before.
    pub(crate) fn report_renamed(&mut self, findings: Vec<(u64, Assessment)>, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        for (id, before) in findings {
            if context.findings.get(id).is_some_and(|record| record.assessment == before) {
                context.findings.mark_reported(id, now, context.options.repeat_findings);
                context.emit_open(ports, id);
            }
        }
    }
}
