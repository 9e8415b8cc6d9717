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

/// Objects of which it pays to look which ports they mean.
const FEW: usize = 8;

impl Engine {
    pub(crate) fn services_listed(&mut self, listing: Listing<Service>, now: BootTime) {
        let touched = self.services.take(listing);
        if !touched.is_empty() {
            self.bump_generation();
            self.service_addresses_changed(&touched);
        }
        for key in self.pods.selected_by(&touched) {
            let Some(record) = self.pods.get_mut(key) else { continue };
            if touched.len() > FEW {
                if self.select_services(key) {
                    self.resolve_expectations(key);
                    self.judge_pod(key, now);
                }
            } else if self.services.reselect(&record.pod, &mut record.services, &touched).is_some() {
                self.judge_targets(key, &touched);
                if self.resolve_expectations(key) {
                    self.check_pod(key, now);
                }
            }
        }
    }

    /// Judges the ports of a pod to which these Services send or sent; what a container declares needs no Service.
    fn judge_targets(&mut self, key: PodKey, services: &[Arc<Service>]) {
        let Some(record) = self.pods.get(key) else { return };
        let targets: BTreeSet<ProtocolPort> =
            targets_of(&record.pod, services.iter().map(Arc::as_ref)).collect();
        let mine = record.ports.iter().filter(|id| targets.contains(&(id.protocol, id.port)));
        self.dirty
            .extend(mine.filter(|id| self.ports.get(id).is_some_and(|port| port.is_undeclared())).copied());
    }

    pub(crate) fn policies_listed(&mut self, listing: Listing<NetworkPolicy>, now: BootTime) {
        let known = self.policies.known();
        let touched = self.policies.take(listing);
        if !touched.is_empty() || known != self.policies.known() {
            self.bump_generation();
        }
        let mut pods: BTreeSet<PodKey> = self.pods.selected_by(&touched);
        if known == self.policies.known() && touched.len() <= FEW {
            for key in pods {
                let Some(record) = self.pods.get_mut(key) else { continue };
                if let Some(before) = self.policies.reselect(&record.pod, &mut record.policies, &touched) {
                    self.judge_isolated(key, &before);
                }
            }
            return;
        }
        pods.retain(|key| self.select_policies(*key));
        if known != self.policies.known() {
            pods = self.pods.live().map(|(key, _)| key).collect();
        }
        for key in pods {
            self.judge_pod(key, now);
        }
    }

    /// Judges the ports of a pod of which its policies say something else than those before did.
    fn judge_isolated(&mut self, key: PodKey, before: &[(Arc<NetworkPolicy>, Selects)]) {
        let Some(record) = self.pods.get(key) else { return };
        let known = self.policies.known();
        let now = record.manifests();
        let before = Manifests { policies: before, ..now };
        let says_the_same = |id: &&PortId| {
            let verdict = |manifests| isolation::verdict(known, manifests, id.protocol, id.port);
            let explaining =
                |manifests| isolation::naming(manifests, id.protocol, id.port).map(|policy| &policy.name);
            verdict(before) == verdict(now) && explaining(before).eq(explaining(now))
        };
        self.dirty.extend(record.ports.iter().filter(|id| !says_the_same(id)).copied());
    }

    pub(crate) fn namespaces_listed(&mut self, listing: Listing<Namespace>, now: BootTime) {
        for namespace in self.namespaces.take(listing) {
            self.namespace_exception_changed(&namespace, now);
        }
    }

    /// Finds the Services, policies and exceptions of a pod that is new or has other labels. True if any are others than before.
    pub(crate) fn select_for(&mut self, key: PodKey) -> bool {
        let services = self.select_services(key);
        self.resolve_expectations(key);
        let policies = self.select_policies(key);
        let exceptions = self.select_exceptions(key);
        services || policies || exceptions
    }

    /// True if they are others than before.
    fn select_services(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get_mut(key) else { return false };
        let next = self.services.selecting(&record.pod);
        let changed = record.services != next;
        record.services = next;
        changed
    }

    /// True if they are others than before.
    fn select_policies(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get_mut(key) else { return false };
        let next = self.policies.selecting(&record.pod);
        let changed = record.policies != next;
        record.policies = next;
        changed
    }

    pub(crate) fn judge_pod(&mut self, key: PodKey, now: BootTime) {
        if let Some(record) = self.pods.get(key) {
            self.dirty.extend(record.ports.iter().copied());
        }
        self.check_pod(key, now);
    }
}
