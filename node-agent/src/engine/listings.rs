//! How Services, NetworkPolicies and namespaces change the state: only the pods that a changed object selects, or selected
//! before, are judged again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::declaration::targets_of;
use super::expected::At;
use super::identity::BootTime;
use super::input::Listing;
use super::namespace::Namespace;
use super::network_policy::NetworkPolicy;
use super::pod_index::PodKey;
use super::service::Service;

/// Objects of which it pays to look which ports they mean.
const FEW: usize = 8;

impl Engine {
    pub(super) fn services_told(&mut self, listing: Listing<Service>, now: BootTime) {
        let touched = self.services.take(listing);
        if !touched.is_empty() {
            self.renew();
            self.doors_changed(&touched);
        }
        for key in self.pods.selected_by(&touched) {
            if !self.select_services(key) {
                continue;
            }
            self.expect(key);
            if touched.len() > FEW {
                self.judge_pod(key, now);
            } else {
                self.judge_targets(key, &touched, now);
            }
        }
    }

    /// Judges the ports of a pod to which these Services send or sent.
    fn judge_targets(&mut self, key: PodKey, services: &[Arc<Service>], now: BootTime) {
        let Some(record) = self.pods.get(key) else { return };
        let targets: BTreeSet<At> = targets_of(&record.pod, services.iter().map(Arc::as_ref)).collect();
        let mine = record.ports.iter().filter(|id| targets.contains(&(id.protocol, id.port)));
        self.dirty.extend(mine.copied());
        self.check_pod(key, now);
    }

    pub(super) fn policies_told(&mut self, listing: Listing<NetworkPolicy>, now: BootTime) {
        let known = self.policies.known();
        let touched = self.policies.take(listing);
        if !touched.is_empty() || known != self.policies.known() {
            self.renew();
        }
        let mut pods: BTreeSet<PodKey> = self.pods.selected_by(&touched);
        pods.retain(|key| self.select_policies(*key));
        if known != self.policies.known() {
            pods = self.pods.live().map(|(key, _)| key).collect();
        }
        for key in pods {
            self.judge_pod(key, now);
        }
    }

    pub(super) fn namespaces_told(&mut self, listing: Listing<Namespace>, now: BootTime) {
        for namespace in self.namespaces.take(listing) {
            self.namespace_exception_changed(&namespace, now);
        }
    }

    /// Finds the Services, policies and exceptions of a pod that is new or has other labels.
    pub(super) fn select_for(&mut self, key: PodKey) {
        self.select_services(key);
        self.expect(key);
        self.select_policies(key);
        self.select_exceptions(key);
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

    pub(super) fn judge_pod(&mut self, key: PodKey, now: BootTime) {
        if let Some(record) = self.pods.get(key) {
            self.dirty.extend(record.ports.iter().copied());
        }
        self.check_pod(key, now);
    }
}
