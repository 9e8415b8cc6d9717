//! Applies pods of one source.

use crate::engine::Engine;
use crate::model::identity::{BootTime, PodKey, PodUid, PortId};
use crate::model::pod::{Extent, Pod, PodSource};
use crate::rules::container_match::runs_in;
use crate::state::pods::{PodChange, PodChanges};

impl Engine {
    /// Replaces all pods of a source.
    pub(crate) fn pods_listed(&mut self, source: PodSource, pods: Vec<Pod>, now: BootTime) {
        let changes = self.facts.pods.replace(source, pods, now);
        self.settle_pods(changes, now);
    }

    /// Replaces one pod of a source.
    pub(crate) fn pod_changed(&mut self, source: PodSource, pod: Pod, now: BootTime) {
        let changes = self.facts.pods.change(source, pod, now);
        self.settle_pods(changes, now);
    }

    /// Removes one pod of a source.
    pub(crate) fn pod_gone(&mut self, source: PodSource, uid: &PodUid, now: BootTime) {
        let changes = self.facts.pods.remove(source, uid, now);
        self.settle_pods(changes, now);
    }

    /// Judges again what depends on the changed pods.
    fn settle_pods(&mut self, changes: PodChanges, now: BootTime) {
        if !changes.changed.is_empty() || !changes.departed.is_empty() {
            // Findings without a port show their pod too.
            self.outbox.touch();
        }
        for key in &changes.departed {
            let Some(record) = self.facts.pods.get(*key) else { continue };
            self.facts.addresses.retire_pod(*key, &record.pod, now);
            self.agenda.judge_all(record.ports.iter().copied());
        }
        let mut differing = Vec::with_capacity(changes.changed.len());
        for PodChange { key, before, extent } in changes.changed {
            match extent {
                Extent::Readiness => {}
                // The labels changed, but the same objects select the pod.
                Extent::Labels if !self.select_for(key) => continue,
                Extent::Labels => {
                    let ports = self.facts.pods.get(key).map(|record| &record.ports);
                    self.agenda.judge_all(ports.into_iter().flatten().copied());
                }
                Extent::More => self.settle_pod(key, before.as_deref()),
            }
            differing.push(key);
        }
        for key in differing.into_iter().chain(changes.departed) {
            self.check_pod(key, now);
        }
    }

    /// Updates everything that is derived from a pod: addresses, claims, selections and attributions.
    fn settle_pod(&mut self, key: PodKey, before: Option<&Pod>) {
        if let Some(before) = before {
            self.facts.addresses.remove_pod(key, before);
        }
        let was_in = before.and_then(|before| self.facts.netns.at_path(before.netns_path.as_deref()?));
        for netns in was_in.into_iter().chain(self.facts.netns_of(key)) {
            self.facts.settle_claim(netns);
        }
        self.select_for(key);
        let Some(record) = self.facts.pods.get(key) else { return };
        self.facts.addresses.add_pod(key, &record.pod);
        self.agenda.judge_all(record.ports.iter().copied());
        let waiting = self.ports.index().unattributed();
        let mine: Vec<PortId> = waiting.filter(|id| self.may_be_of(*id, &record.pod)).collect();
        self.agenda.judge_all(mine);
        if let Some(netns) = self.facts.netns_of(key) {
            self.agenda.judge_all(self.ports.of_netns(netns));
        }
    }

    /// Returns true if the cgroup of a process that serves the port names this pod or one of its containers.
    fn may_be_of(&self, id: PortId, pod: &Pod) -> bool {
        let Some(bindings) = self.ports.get(id).and_then(|port| port.bindings.as_ref()) else {
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
