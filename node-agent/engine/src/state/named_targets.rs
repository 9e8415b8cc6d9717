//! Which pods of the node declare the port names that Services send to. A Service may select pods that do not have the name,
//! as those of a job: that is a mistake only if no pod has it.

use std::collections::{BTreeSet, HashMap};

use crate::model::identity::PodKey;
use crate::rules::expectations::Expectations;

/// The pods that one named target of a Service selects. Bounded by the expectations that are kept per pod.
#[derive(Debug, Default)]
struct Holders {
    /// Number of pods that declare the name.
    declaring: usize,
    /// Pods that do not.
    lacking: BTreeSet<PodKey>,
}

/// Named targets of Services, with the pods that they select.
#[derive(Debug, Default)]
pub(crate) struct NamedTargets {
    of: HashMap<u64, Holders>,
}

impl NamedTargets {
    /// Returns true if a pod of the node declares the name.
    #[must_use]
    pub(crate) fn is_declared(&self, target: u64) -> bool {
        self.of.get(&target).is_some_and(|holders| holders.declaring > 0)
    }

    /// Replaces what a pod declares and lacks. Returns the pods that lack a name of which the answer changed.
    pub(crate) fn replace(
        &mut self,
        pod: PodKey,
        before: &Expectations,
        after: &Expectations,
    ) -> BTreeSet<PodKey> {
        let touched: BTreeSet<u64> = before.resolved().chain(after.resolved()).collect();
        let was_declared: BTreeSet<u64> =
            touched.iter().copied().filter(|target| self.is_declared(*target)).collect();
        for target in before.resolved() {
            if let Some(holders) = self.of.get_mut(&target) {
                holders.declaring = holders.declaring.saturating_sub(1);
            }
        }
        for target in before.missing() {
            if let Some(holders) = self.of.get_mut(&target) {
                holders.lacking.remove(&pod);
            }
        }
        for target in after.resolved() {
            let holders = self.of.entry(target).or_default();
            holders.declaring = holders.declaring.saturating_add(1);
        }
        for target in after.missing() {
            self.of.entry(target).or_default().lacking.insert(pod);
        }
        let changed =
            touched.iter().filter(|target| self.is_declared(**target) != was_declared.contains(target));
        let lacking = changed.filter_map(|target| self.of.get(target)).flat_map(|holders| &holders.lacking);
        let lacking = lacking.copied().collect();
        for target in touched.into_iter().chain(before.missing()) {
            if self.of.get(&target).is_some_and(|h| h.declaring == 0 && h.lacking.is_empty()) {
                self.of.remove(&target);
            }
        }
        lacking
    }
}
