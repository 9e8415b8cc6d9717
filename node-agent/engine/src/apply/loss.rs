//! Applies losses that sources report.

use crate::engine::Engine;
use crate::model::change::{Change, Loss};

impl Engine {
    /// Counts and reports a loss.
    pub(crate) fn lost(&mut self, reason: &'static str, count: u64, recovered: bool) {
        if !recovered {
            self.outbox.totals_mut().lose(reason, count);
        }
        self.outbox.emit(Change::Loss(Loss { reason, count, recovered }));
    }
}
