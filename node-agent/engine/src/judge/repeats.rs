//! Reports open findings again that were not reported for long, so that a log keeps them in view.

use crate::engine::Engine;
use crate::model::finding::FindingState;
use crate::model::identity::BootTime;
use crate::read::render;

/// Maximum number of findings that one call reports again; the rest follows at once in the next call.
const MOST: usize = 64;

impl Engine {
    /// Reports the findings again that are due. A suppressed finding is not repeated.
    pub(crate) fn repeat_findings(&mut self, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        for _ in 0..MOST {
            let Some(id) = context.findings.due_for_repeat(now) else { return };
            context.findings.mark_reported(id, now, context.options.repeat_findings);
            let record = context.findings.get(id).filter(|record| record.state() == FindingState::Open);
            let finding = record.and_then(|record| render::finding(context.facts, ports, id, record));
            context.emit_finding(finding.map(|finding| context.seen_now(finding)));
        }
    }
}
