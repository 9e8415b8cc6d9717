//! Applies Services, NetworkPolicies and namespaces. Only the pods that a changed object selects, or selected before,
//! are judged again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{BootTime, PodKey, PortId, ProtocolPort};
use crate::model::listing::Listing;
use crate::model::namespace::Namespace;
use crate::model::network_policy::NetworkPolicy;
use crate::model::selector::Selects;
use crate::model::service::Service;
use crate::rules::declaration::targets_of;
use crate::rules::isolation;
use crate::rules::manifests::Manifests;

/// Number of changed objects up to which the affected ports are looked up one by one. Above it, the pods are judged
/// whole.
const FEW: usize = 8;

impl Engine {
    /// Applies an update of Services.
    pub(crate) fn services_listed(&mut self, listing: Listing<Service>, now: BootTime) {
        let touched = self.facts.services.take(listing);
        if !touched.is_empty() {
            self.outbox.touch();
            self.service_addresses_changed(&touched);
        }
        for key in self.facts.pods.selected_by(&touched) {
            let Some(record) = self.facts.pods.get_mut(key) else { continue };
            if touched.len() > FEW {
                if self.select_services(key) {
                    self.resolve_expectations(key, now);
                    self.judge_pod(key, now);
                }
            } else if self.facts.services.reselect(&record.pod, &mut record.services, &touched).is_some() {
                self.judge_targets(key, &touched);
                if self.resolve_expectations(key, now) {
                    self.check_pod(key, now);
                }
            }
        }
    }

    /// Judges the undeclared ports of a pod to which these Services send or sent. Declared ports do not depend on
    /// Services.
    fn judge_targets(&mut self, key: PodKey, services: &[Arc<Service>]) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let targets: BTreeSet<ProtocolPort> =
            targets_of(&record.pod, services.iter().map(Arc::as_ref)).collect();
        let mine = record.ports.iter().filter(|id| targets.contains(&(id.protocol, id.port)));
        self.agenda.judge_all(
            mine.filter(|id| self.ports.get(**id).is_some_and(|port| port.is_undeclared())).copied(),
        );
    }

    /// Applies an update of NetworkPolicies.
    pub(crate) fn policies_listed(&mut self, listing: Listing<NetworkPolicy>, now: BootTime) {
        let known = self.facts.policies.known();
        let touched = self.facts.policies.take(listing);
        if !touched.is_empty() || known != self.facts.policies.known() {
            self.outbox.touch();
        }
        let mut pods: BTreeSet<PodKey> = self.facts.pods.selected_by(&touched);
        if known == self.facts.policies.known() && touched.len() <= FEW {
            for key in pods {
                let Some(record) = self.facts.pods.get_mut(key) else { continue };
                if let Some(before) =
                    self.facts.policies.reselect(&record.pod, &mut record.policies, &touched)
                {
                    self.judge_isolated(key, &before);
                }
            }
            return;
        }
        pods.retain(|key| self.select_policies(*key));
        if known != self.facts.policies.known() {
            pods = self.facts.pods.live().map(|(key, _)| key).collect();
        }
        for key in pods {
            self.judge_pod(key, now);
        }
    }

    /// Judges the ports of a pod whose policy verdict or explaining policies differ from before.
    fn judge_isolated(&mut self, key: PodKey, before: &[(Arc<NetworkPolicy>, Selects)]) {
        let Some(record) = self.facts.pods.get(key) else { return };
        let known = self.facts.policies.known();
        let now = record.manifests();
        let before = Manifests { policies: before, ..now };
        let is_unchanged = |id: &&PortId| {
            let verdict = |manifests| isolation::verdict(known, manifests, id.protocol, id.port);
            // The callers that they list count, too.
            let explaining = |manifests| {
                isolation::naming(manifests, id.protocol, id.port)
                    .map(|policy| (&policy.name, &policy.ingress))
            };
            verdict(before) == verdict(now) && explaining(before).eq(explaining(now))
        };
        self.agenda.judge_all(record.ports.iter().filter(|id| !is_unchanged(id)).copied());
    }

    /// Applies an update of namespaces.
    pub(crate) fn namespaces_listed(&mut self, listing: Listing<Namespace>, now: BootTime) {
        for namespace in self.facts.namespaces.take(listing) {
            self.namespace_exception_changed(&namespace, now);
        }
        // Their labels may select callers.
        self.agenda.judge_all(self.ports.index().selective());
    }

    /// Selects the Services, policies and exceptions of a pod that is new or has other labels. Returns true if any
    /// changed.
    pub(crate) fn select_for(&mut self, key: PodKey, now: BootTime) -> bool {
        let services = self.select_services(key);
        self.resolve_expectations(key, now);
        let policies = self.select_policies(key);
        let exceptions = self.select_exceptions(key);
        services || policies || exceptions
    }

    /// Selects the Services of a pod. Returns true if they changed.
    fn select_services(&mut self, key: PodKey) -> bool {
        let Some(record) = self.facts.pods.get_mut(key) else { return false };
        let next = self.facts.services.selecting(&record.pod);
        let changed = record.services != next;
        record.services = next;
        changed
    }

    /// Selects the policies of a pod. Returns true if they changed.
    fn select_policies(&mut self, key: PodKey) -> bool {
        let Some(record) = self.facts.pods.get_mut(key) else { return false };
        let next = self.facts.policies.selecting(&record.pod);
        let changed = record.policies != next;
        record.policies = next;
        changed
    }
}
