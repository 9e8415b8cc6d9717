//! Everything that was dropped anywhere in the agent, by reason.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::pipeline::Pipeline;
use crate::sink::stream::line_limit::LIMITED;
use crate::sink::stream::stdout::{BLOCKED, CLOSED, FAILED, TOO_LONG};

impl Pipeline {
    /// Adds to the engine's losses those of stdout, the export, the cluster sinks, and the state file.
    pub(super) fn all_losses(&self, mut lost: BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let counts = self.publisher.counts();
        let (too_long, no_line) = (self.publisher.too_long(), self.publisher.limited());
        let limited = [("reports", "reports-limited"), ("events", "events-limited")];
        for done in self.cluster.totals().iter().filter(|done| done.limited > 0) {
            let reason = limited.iter().find(|(sink, _)| *sink == done.sink);
            lost.extend(reason.map(|(_, reason)| (*reason, done.limited)));
        }
        if let Some(memory) = &self.memory {
            let of = [
                ("state-file-rejected", &memory.counts.rejected),
                ("state-file-failed", &memory.counts.failed),
                ("state-file-full", &memory.counts.beyond),
            ];
            let failed = of.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
            lost.extend(failed.into_iter().filter(|(_, count)| *count > 0));
        }
        let stdout = [
            (BLOCKED, &counts.blocked),
            (CLOSED, &counts.closed),
            (FAILED, &counts.failed),
            (TOO_LONG, &*too_long),
            (LIMITED, &*no_line),
        ];
        let lines = stdout.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
        for (reason, count) in lines.into_iter().chain(self.publisher.lost_in_export()) {
            if count > 0 {
                lost.insert(reason, count);
            }
        }
        lost
    }
}
