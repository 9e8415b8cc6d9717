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
    /// Replaces the operator's exception rules.
    pub(crate) fn exceptions_listed(&mut self, rules: Vec<Arc<Rule>>, now: BootTime) {
        let changed = self.facts.exceptions.replace(rules);
        self.agenda.set(Timer::Exceptions, self.facts.exceptions.next_expiry());
        self.judge_concerned(&changed, now);
    }

    /// Judges again what expired rules suppressed.
    pub(crate) fn exceptions_expired(&mut self, now: BootTime) {
        let expired = self.facts.exceptions.take_expired(now);
        self.agenda.set(Timer::Exceptions, self.facts.exceptions.next_expiry());
        self.judge_concerned(&expired, now);
    }

    /// Judges again whatever one of these rules may match.
    fn judge_concerned(&mut self, rules: &[Arc<Rule>], now: BootTime) {
        if rules.is_empty() {
            return;
        }
        self.outbox.touch();
        let live = self
            .facts
            .pods
            .live()
            .filter(|(_, record)| rules.iter().any(|r| r.matches.concerns_pod(&record.pod)));
        let concerned: Vec<PodKey> = live.map(|(key, _)| key).collect();
        for key in concerned {
            self.select_exceptions(key);
            let Some(record) = self.facts.pods.get(key) else { continue };
            let mine: Vec<&Arc<Rule>> =
                rules.iter().filter(|r| r.matches.concerns_pod(&record.pod)).collect();
            let on = |id: &&PortId| mine.iter().any(|rule| rule.matches.concerns_port(id.protocol, id.port));
            self.agenda.judge_all(record.ports.iter().filter(on).copied());
            self.check_pod(key, now);
        }
        let mut podless = rules.iter().filter(|rule| rule.matches.concerns_no_pod()).peekable();
        if podless.peek().is_some() {
            self.agenda.judge_all(self.ports.index().unattributed());
            self.check_netns_storms(now);
        }
    }

    /// Checks the storms of netns without a pod.
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

    /// Selects the rules that may concern a pod. Returns true if they changed.
    pub(crate) fn select_exceptions(&mut self, key: PodKey) -> bool {
        let Some(record) = self.facts.pods.get(key) else { return false };
        let pod = &record.pod;
        let listed = self.facts.exceptions.iter().filter(|rule| rule.matches.concerns_pod(pod));
        let mut rules: Vec<Arc<Rule>> = listed.cloned().collect();
        let source = self.options.exception_annotations;
        if source >= AnnotationSource::Namespace
            && let Some(rule) = self.facts.namespaces.exception(&pod.namespace).rule()
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
        if let Some(record) = self.facts.pods.get_mut(key) {
            record.exceptions = PodExceptions { rules, own };
        }
        if turned_invalid {
            self.outbox.refuse("exception-annotation-invalid");
        }
        !is_same
    }

    /// Judges a namespace's pods again, because its annotations changed.
    pub(crate) fn namespace_exception_changed(&mut self, namespace: &str, now: BootTime) {
        if self.options.exception_annotations == AnnotationSource::Off {
            return;
        }
        if *self.facts.namespaces.exception(namespace) == Annotated::Invalid {
            self.outbox.refuse("exception-annotation-invalid");
        }
        let pods: Vec<PodKey> = self.facts.pods.in_namespace(namespace).collect();
        for key in pods {
            self.select_exceptions(key);
            self.judge_pod(key, now);
        }
    }
}
