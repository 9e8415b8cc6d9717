//! Counts the ports that make findings per pod or netns, and reports storms that begin, grow or end.

use crate::engine::Engine;
use crate::judge::context::JudgeContext;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::{Owner, quiet_storm_id, storm_id};
use crate::model::identity::{BootTime, PortId};
use crate::read::render;
use crate::state::findings::Subject;
use crate::state::storms::{StormChange, StormScope};

impl Engine {
    /// Reports storms that began, doubled or ended since the last call.
    pub(crate) fn emit_storms(&mut self, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        for (scope, change) in context.findings.take_storms() {
            let (id, code) = match scope {
                StormScope::Pod(key) => {
                    let Some(record) = context.facts.pods.get(key) else { continue };
                    (storm_id(Owner::Pod(&record.pod.uid)), FindingCode::PortStorm)
                }
                // The number of ports does not raise the severity of what cannot be called either.
                StormScope::QuietPod(key) => {
                    let Some(record) = context.facts.pods.get(key) else { continue };
                    let code = record.quiet_storm.worst().unwrap_or(FindingCode::UndeclaredLoopback);
                    (quiet_storm_id(&record.pod.uid), code)
                }
                // The number of ports does not raise the severity of what cannot be judged.
                StormScope::Netns(netns) => (storm_id(Owner::Netns(netns)), FindingCode::Unattributed),
            };
            match change {
                StormChange::Began | StormChange::Recoded => {
                    if context.raise(id, Subject::Storm(scope), code, now) {
                        context.emit_open(ports, id);
                    }
                }
                StormChange::Grew => {
                    let since = context.findings.get(id).map_or(now, |record| record.first_seen);
                    context.raise(id, Subject::Storm(scope), code, since);
                    context.findings.mark_reported(id, now, context.options.repeat_findings);
                    context.emit_open(ports, id);
                }
                StormChange::Ended => {
                    if let Some(record) = context.findings.resolve(id) {
                        let finding = render::finding(context.facts, ports, id, &record);
                        context.emit_resolved(finding.map(|finding| context.seen_now(finding)));
                    }
                }
            }
        }
    }

    /// Looks up the exception of a storm again. The storm itself does not change.
    pub(crate) fn check_storm(&mut self, id: u64, now: BootTime) {
        let (mut context, ports) = self.judging(now);
        if let Some(record) = context.findings.get(id) {
            let (subject, code, since) = (record.subject, record.assessment.code, record.first_seen);
            if context.raise(id, subject, code, since) {
                context.emit_open(ports, id);
            }
        }
    }
}

impl JudgeContext<'_> {
    /// Counts a port among those that make findings, or stops counting it if `code` is `None`.
    pub(crate) fn update_storm(&mut self, scope: StormScope, id: PortId, code: Option<FindingCode>) {
        let cap = scope.cap(self.options.storm_ports);
        let Some(storm) = self.facts.storm_mut(scope) else { return };
        if let Some(change) = storm.update(id, code, cap, self.agenda) {
            self.findings.push_storm(scope, change);
        }
    }
}
