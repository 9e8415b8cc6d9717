//! Applies losses that sources report.

use crate::engine::Engine;
use crate::model::change::{Change, Loss};

impl Engine {
    pub(crate) fn lost(&mut self, reason: &'static str, count: u64, recovered: bool) {
        if !recovered {
            self.totals.lose(reason, count);
        }
        self.emit(Change::Loss(Loss { reason, count, recovered }));
    }
}
