//! The parts of the engine that a decision reads and writes, borrowed side by side with the port table.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::change::Change;
use crate::model::finding::{Finding, FindingState};
use crate::model::identity::BootTime;
use crate::model::options::EngineOptions;
use crate::read::render;
use crate::state::agenda::Agenda;
use crate::state::facts::Facts;
use crate::state::findings::Findings;
use crate::state::outbox::Outbox;
use crate::state::ports::Ports;

/// Every part of the engine except the port table.
#[derive(Debug)]
pub(crate) struct JudgeContext<'a> {
    /// The present time.
    pub(crate) now: BootTime,
    /// The engine's settings.
    pub(crate) options: &'a EngineOptions,
    pub(crate) facts: &'a mut Facts,
    pub(crate) findings: &'a mut Findings,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) agenda: &'a mut Agenda,
}

impl Engine {
    /// Borrows the port table and everything else apart.
    pub(crate) fn judging(&mut self, now: BootTime) -> (JudgeContext<'_>, &mut Ports) {
        let Self { options, facts, ports, findings, outbox, agenda } = self;
        (JudgeContext { now, options, facts, findings, outbox, agenda }, ports)
    }
}

impl JudgeContext<'_> {
    /// Emits a finding as it stands.
    pub(crate) fn emit_finding(&mut self, finding: Option<Finding>) {
        match finding {
            Some(finding) if self.options.emits_reports => {
                self.outbox.emit(Change::Finding(Arc::new(finding)));
            }
            Some(_) => self.outbox.touch(),
            None => {}
        }
    }

    /// Emits an open finding, whatever it is about, as it stands now.
    pub(crate) fn emit_open(&mut self, ports: &Ports, id: u64) {
        let record = self.findings.get(id);
        let finding = record.and_then(|record| render::finding(self.facts, ports, id, record));
        self.emit_finding(finding.map(|finding| self.seen_now(finding)));
    }

    /// Emits a finding as resolved.
    pub(crate) fn emit_resolved(&mut self, finding: Option<Finding>) {
        self.emit_finding(finding.map(|finding| Finding {
            state: FindingState::Resolved,
            changed_at: Some(self.now),
            ..finding
        }));
    }
}
