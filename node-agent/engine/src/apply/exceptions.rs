//! Applies exception rules and annotations. Only the ports of the pods that a changed rule may match are judged again.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::exception::Rule;
use crate::model::fingerprint::{Owner, storm_id};
use crate::model::identity::{BootTime, NetnsId, PodKey, PortId};
use crate::model::options::AnnotationSource;
use crate::rules::exception_annotation::{Annotated, OF_POD};
use crate::state::exceptions::PodExceptions;
use crate::state::findings::Subject;
use crate::state::storms::StormScope;
use crate::state::timers::Timer;

impl Engine {
    pub(crate) fn exceptions_listed(&mut self, rules: Vec<Arc<Rule>>, now: BootTime) {
        let changed = self.rules.replace(rules);
        self.timers.set(Timer::Exceptions, self.rules.next_expiry());
        self.judge_concerned(&changed, now);
    }

    /// Exceptions ran out: what they suppressed is open again.
    pub(crate) fn exceptions_expired(&mut self, now: BootTime) {
        let expired = self.rules.take_expired(now);
        self.timers.set(Timer::Exceptions, self.rules.next_expiry());
        self.judge_concerned(&expired, now);
    }

    /// Judges again what one of these rules may match.
    fn judge_concerned(&mut self, rules: &[Arc<Rule>], now: BootTime) {
        if rules.is_empty() {
            return;
        }
        self.bump_generation();
        let live =
            self.pods.live().filter(|(_, record)| rules.iter().any(|r| r.matches.concerns_pod(&record.pod)));
        let concerned: Vec<PodKey> = live.map(|(key, _)| key).collect();
        for key in concerned {
            self.select_exceptions(key);
            let Some(record) = self.pods.get(key) else { continue };
            let mine: Vec<&Arc<Rule>> =
                rules.iter().filter(|r| r.matches.concerns_pod(&record.pod)).collect();
            let on = |id: &&PortId| mine.iter().any(|rule| rule.matches.concerns_port(id.protocol, id.port));
            self.dirty.extend(record.ports.iter().filter(on).copied());
            self.check_pod(key, now);
        }
        let mut podless = rules.iter().filter(|rule| rule.matches.concerns_no_pod()).peekable();
        if podless.peek().is_some() {
            self.dirty.extend(self.unattributed.iter().copied());
            self.check_netns_storms(now);
        }
    }

    /// The storms of netns without a pod.
    fn check_netns_storms(&mut self, now: BootTime) {
        let netns = self.findings.iter().filter_map(|(_, record)| match record.subject {
            Subject::Storm(StormScope::Netns(netns)) => Some(netns),
            _ => None,
        });
        let netns: Vec<NetnsId> = netns.collect();
        for netns in netns {
            self.check_storm(storm_id(Owner::Netns(netns)), now);
        }
    }

    /// Finds the rules that may concern a pod. True if they are others than before.
    pub(crate) fn select_exceptions(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get(key) else { return false };
        let pod = &record.pod;
        let listed = self.rules.iter().filter(|rule| rule.matches.concerns_pod(pod));
        let mut rules: Vec<Arc<Rule>> = listed.cloned().collect();
        let source = self.options.exception_annotations;
        if source >= AnnotationSource::Namespace
            && let Some(rule) = self.namespaces.exception(&pod.namespace).rule()
        {
            rules.push(Arc::clone(rule));
        }
        let own = if source == AnnotationSource::Pod {
            Annotated::of(OF_POD, &pod.annotations)
        } else {
            Annotated::Nothing
        };
        rules.extend(own.rule().cloned());
        rules.shrink_to_fit();
        let turned_invalid = own == Annotated::Invalid && record.exceptions.own != own;
        let before = &record.exceptions.rules;
        let is_same =
            before.len() == rules.len() && before.iter().zip(&rules).all(|(a, b)| Arc::ptr_eq(a, b));
        if let Some(record) = self.pods.get_mut(key) {
            record.exceptions = PodExceptions { rules, own };
        }
        if turned_invalid {
            self.refuse("exception-annotation-invalid");
        }
        !is_same
    }

    /// A namespace's annotations changed: its pods are judged again.
    pub(crate) fn namespace_exception_changed(&mut self, namespace: &str, now: BootTime) {
        if self.options.exception_annotations == AnnotationSource::Off {
            return;
        }
        if *self.namespaces.exception(namespace) == Annotated::Invalid {
            self.refuse("exception-annotation-invalid");
        }
        let pods: Vec<PodKey> = self.pods.in_namespace(namespace).collect();
        for key in pods {
            self.select_exceptions(key);
            self.judge_pod(key, now);
        }
    }
}
