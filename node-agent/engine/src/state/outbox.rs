//! What the current call emits, and the counters of what was emitted, judged and dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::change::{Change, Loss};
use crate::model::identity::BootTime;
use crate::model::totals::Totals;

/// Minimum interval between two reports of facts that did not fit.
const REFUSED_INTERVAL: Duration = Duration::from_secs(10);

/// Changes to hand over, the generation of the lists, and totals.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    changes: Vec<Change>,
    generation: u64,
    totals: Totals,
    /// How often something did not fit since the last report, by reason.
    refused: BTreeMap<&'static str, u64>,
    refused_reported_at: Option<BootTime>,
}

impl Outbox {
    /// Emits a change that reports show.
    pub(crate) fn emit(&mut self, change: Change) {
        self.touch();
        self.changes.push(change);
    }

    /// Emits a request to the kernel side, which no report shows.
    pub(crate) fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Notes that a query may show something else from now on.
    pub(crate) fn touch(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    /// Grows whenever a query may show something else.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) const fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(crate) const fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    /// Counts one fact that did not fit. Reported by [`Self::emit_refused`], together with others of that moment.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.refuse_many(reason, 1);
    }

    /// The same for several.
    pub(crate) fn refuse_many(&mut self, reason: &'static str, more: usize) {
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.totals.lose(reason, more);
            let count = self.refused.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// Emits a loss for each reason that refused something since the last report. Returns when to try again if the last
    /// report is less than [`REFUSED_INTERVAL`] ago.
    pub(crate) fn emit_refused(&mut self, now: BootTime) -> Option<BootTime> {
        if self.refused.is_empty() {
            return None;
        }
        let due = self.refused_reported_at.map_or(now, |reported| reported.after(REFUSED_INTERVAL));
        if now < due {
            return Some(due);
        }
        self.refused_reported_at = Some(now);
        for (reason, count) in std::mem::take(&mut self.refused) {
            self.emit(Change::Loss(Loss { reason, count, recovered: false }));
        }
        None
    }

    /// Takes everything that was emitted.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
