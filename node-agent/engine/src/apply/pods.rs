//! Applies pods of one source.

use crate::engine::Engine;
use crate::model::identity::{BootTime, PodKey, PodUid, PortId};
use crate::model::pod::{Extent, Pod};
use crate::rules::container_match::runs_in;
use crate::state::pods::{PodChange, PodChanges};

impl Engine {
    pub(crate) fn pods_listed(&mut self, source: &'static str, pods: Vec<Pod>, now: BootTime) {
        let changes = self.pods.replace(source, pods, now);
        self.settle_pods(changes, now);
    }

    pub(crate) fn pod_changed(&mut self, source: &'static str, pod: Pod, now: BootTime) {
        let changes = self.pods.change(source, pod, now);
        self.settle_pods(changes, now);
    }

    pub(crate) fn pod_gone(&mut self, source: &'static str, uid: &PodUid, now: BootTime) {
        let changes = self.pods.remove(source, uid, now);
        self.settle_pods(changes, now);
    }

    fn settle_pods(&mut self, changes: PodChanges, now: BootTime) {
        if !changes.changed.is_empty() || !changes.departed.is_empty() {
            // Findings without a port show pods too.
            self.bump_generation();
        }
        for key in &changes.departed {
            let Some(record) = self.pods.get(*key) else { continue };
            self.addresses.retire_pod(*key, &record.pod, now);
            self.dirty.extend(record.ports.iter().copied());
        }
        let mut differing = Vec::with_capacity(changes.changed.len());
        for PodChange { key, before, extent } in changes.changed {
            match extent {
                Extent::Readiness => {}
                // Whom they mean may be the same as before.
                Extent::Labels if !self.select_for(key) => continue,
                Extent::Labels => {
                    let ports = self.pods.get(key).map(|record| &record.ports);
                    self.dirty.extend(ports.into_iter().flatten().copied());
                }
                Extent::More => self.settle_pod(key, before.as_deref()),
            }
            differing.push(key);
        }
        for key in differing.into_iter().chain(changes.departed) {
            self.check_pod(key, now);
        }
    }

    /// Brings what follows from a pod in line with what it is now.
    fn settle_pod(&mut self, key: PodKey, before: Option<&Pod>) {
        if let Some(before) = before {
            self.addresses.remove_pod(key, before);
        }
        let was_in = before.and_then(|before| self.netns.at_path(before.netns_path.as_deref()?));
        for netns in was_in.into_iter().chain(self.pods.netns(key, &self.netns)) {
            self.settle_claim(netns);
        }
        self.select_for(key);
        let Some(record) = self.pods.get(key) else { return };
        self.addresses.add_pod(key, &record.pod);
        self.dirty.extend(record.ports.iter().copied());
        let waiting = self.unattributed.iter().copied();
        let mine: Vec<PortId> = waiting.filter(|id| self.may_be_of(*id, &record.pod)).collect();
        self.dirty.extend(mine);
        if let Some(netns) = self.pods.netns(key, &self.netns) {
            self.dirty.extend(self.ports_of(netns));
        }
    }

    /// True unless the process that serves this port certainly runs in another pod.
    fn may_be_of(&self, id: PortId, pod: &Pod) -> bool {
        let Some(bindings) = self.ports.get(&id).and_then(|port| port.bindings.as_ref()) else {
            return false;
        };
        let uid = pod.uid.0.as_str();
        bindings.processes().any(|process| {
            let Some(cgroup) = process.and_then(|process| process.cgroup.as_deref()) else { return false };
            cgroup.contains(uid)
                || cgroup.contains(&uid.replace('-', "_"))
                || pod.containers.iter().any(|container| runs_in(process, container))
        })
    }
}
