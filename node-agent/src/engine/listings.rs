//! How Services, NetworkPolicies and namespaces change the state: only the pods that a changed object selects, or selected
//! before, are judged again.

use std::collections::BTreeSet;

use super::Engine;
use super::identity::BootTime;
use super::input::Listing;
use super::namespace::Namespace;
use super::network_policy::NetworkPolicy;
use super::pod_index::PodKey;
use super::service::Service;

impl Engine {
    pub(super) fn services_told(&mut self, listing: Listing<Service>, now: BootTime) {
        let touched = self.services.take(listing);
        for key in self.pods.selected_by(&touched) {
            if self.select_services(key) {
                self.judge_pod(key, now);
            }
        }
    }

    pub(super) fn policies_told(&mut self, listing: Listing<NetworkPolicy>, now: BootTime) {
        let known = self.policies.known();
        let touched = self.policies.take(listing);
        let mut pods: BTreeSet<PodKey> = self.pods.selected_by(&touched);
        pods.retain(|key| self.select_policies(*key));
        if known != self.policies.known() {
            pods = self.pods.live().map(|(key, _)| key).collect();
        }
        for key in pods {
            self.judge_pod(key, now);
        }
    }

    pub(super) fn namespaces_told(&mut self, listing: Listing<Namespace>) {
        self.namespaces.take(listing);
    }

    /// Finds the Services and policies of a pod that is new or has other labels.
    pub(super) fn select_for(&mut self, key: PodKey) {
        self.select_services(key);
        self.select_policies(key);
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

    fn judge_pod(&mut self, key: PodKey, now: BootTime) {
        if let Some(record) = self.pods.get(key) {
            self.dirty.extend(record.ports.iter().copied());
        }
        self.check_pod(key, now);
    }
}
