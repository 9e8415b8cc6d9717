//! Judges named targets of Services that no container of a selected pod declares.

use std::collections::BTreeSet;

use crate::judge::context::JudgeContext;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::missing_name_id;
use crate::model::identity::PodKey;
use crate::rules::expectations::MissingName;
use crate::state::findings::Subject;
use crate::state::timers::Timer;

impl JudgeContext<'_> {
    /// Opens or resolves the findings about port names that Services send to and the pod does not declare.
    pub(crate) fn check_names(&mut self, key: PodKey, can_be_unserved: bool) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let targets: BTreeSet<u64> = record.expected.missing().chain(record.unserved.names()).collect();
        for target in targets {
            let missing = self.missing_name(key, target).filter(|_| can_be_unserved).cloned();
            self.check_name(key, target, missing);
        }
    }

    /// Returns a name that the pod lacks, unless another pod of the node that the Service selects declares it.
    fn missing_name(&self, key: PodKey, target: u64) -> Option<&MissingName> {
        let missing = self.facts.pods.get(key)?.expected.missing_name(target)?;
        (!self.facts.named_targets.is_declared(target)).then_some(missing)
    }

    fn check_name(&mut self, key: PodKey, target: u64, missing: Option<MissingName>) {
        let Some(record) = self.facts.pods.get_mut(key) else { return };
        let id = missing_name_id(&record.pod.uid, target);
        let Some(missing) = missing else {
            self.resolve_pod_finding(id);
            if let Some(record) = self.facts.pods.get_mut(key) {
                record.unserved.end_name(target);
            }
            return;
        };
        let (since, is_other) = record.unserved.begin_name(target, missing, self.now);
        let due = since.after(self.options.stale_grace);
        if self.now < due {
            self.agenda.hasten(Timer::Pod(key), due);
            return;
        }
        let subject = Subject::MissingName(key, target);
        self.raise_pod_finding(id, subject, FindingCode::DanglingServicePort, since, is_other);
    }
}
