//! The operator's exception rules in order, and the rules that apply to one pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::exception::Rule;
use crate::model::identity::BootTime;
use crate::rules::exception_annotation::Annotated;

/// The operator's rules in the order in which they are asked.
#[derive(Debug, Default)]
pub struct ExceptionRules {
    all: Vec<Arc<Rule>>,
    /// What ran out until then was taken note of.
    settled: BootTime,
}

impl ExceptionRules {
    /// Replaces all; returns those that are there no more, new, or not what they were.
    pub fn replace(&mut self, rules: Vec<Arc<Rule>>) -> Vec<Arc<Rule>> {
        let before = std::mem::replace(&mut self.all, rules);
        if before.iter().map(Arc::as_ref).eq(self.all.iter().map(Arc::as_ref)) {
            return Vec::new();
        }
        let old: BTreeMap<&String, &Arc<Rule>> =
            before.iter().map(|rule| (&rule.suppression.rule, rule)).collect();
        let new: BTreeMap<&String, &Arc<Rule>> =
            self.all.iter().map(|rule| (&rule.suppression.rule, rule)).collect();
        let gone = |rule: &&Arc<Rule>| new.get(&rule.suppression.rule) != Some(rule);
        let come = |rule: &&Arc<Rule>| old.get(&rule.suppression.rule) != Some(rule);
        let kept = before.iter().filter(|rule| !gone(rule));
        if kept.eq(self.all.iter().filter(|rule| !come(rule))) {
            return before.iter().filter(gone).chain(self.all.iter().filter(come)).cloned().collect();
        }
        // In another order another rule may be the first that matches.
        before.iter().chain(&self.all).cloned().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.all.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that ran out since this was asked last.
    pub fn take_expired(&mut self, now: BootTime) -> Vec<Arc<Rule>> {
        let settled = self.settled;
        self.settled = settled.max(now);
        let expired = |at: BootTime| settled < at && at <= now;
        self.all.iter().filter(|rule| rule.expires.is_some_and(expired)).cloned().collect()
    }

    /// When the next one runs out.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.all.iter().filter_map(|rule| rule.expires).filter(|at| *at > self.settled).min()
    }
}

/// The rules that may concern one pod, and what its annotations came to.
#[derive(Debug, Default)]
pub struct PodExceptions {
    /// In the order in which they are asked.
    pub rules: Vec<Arc<Rule>>,
    pub own: Annotated,
}
