//! Reports open findings again that were not reported for long, so that a log keeps them in view.

use crate::engine::Engine;
use crate::model::finding::FindingState;
use crate::model::identity::BootTime;

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
}
