//! Applies pods of one source.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::model::identity::{BootTime, NetnsId, PodKey, PodUid, PortId};
use crate::model::netns::canonical;
use crate::model::pod::{Extent, Pod, PodRef, PodSource};
use crate::rules::container_match::runs_in;
use crate::state::findings::Assessment;
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
            self.resolve_expectations(*key, now);
        }
        self.judge_called_by(&changes.changed);
        let renamed = self.findings_of_renamed(&changes.changed);
        let mut differing = Vec::with_capacity(changes.changed.len());
        for PodChange { key, before, extent } in changes.changed {
            match extent {
                Extent::Readiness => {}
                // The same objects select the pod. Its readiness may differ too.
                Extent::Labels if !self.select_for(key, now) => {}
                Extent::Labels => {
                    let ports = self.facts.pods.get(key).map(|record| &record.ports);
                    self.agenda.judge_all(ports.into_iter().flatten().copied());
                }
                Extent::More => self.settle_pod(key, before.as_deref(), now),
            }
            differing.push(key);
        }
        for key in differing.into_iter().chain(changes.departed) {
            self.check_pod(key, now);
        }
        self.report_renamed(renamed, now);
    }

    /// Returns the findings about pods whose workload or sole container changed, except those of served ports, which are
    /// reported with their listeners.
    fn findings_of_renamed(&self, changed: &[PodChange]) -> Vec<(u64, Assessment)> {
        let is_renamed = |change: &&PodChange| {
            let (Some(before), Some(record)) = (&change.before, self.facts.pods.get(change.key)) else {
                return false;
            };
            let before = PodRef::of(before);
            let now = &record.reference;
            (&before.workload, &before.sole_container) != (&now.workload, &now.sole_container)
        };
        let more = changed.iter().filter(|change| change.extent == Extent::More);
        let renamed: BTreeSet<PodKey> = more.filter(is_renamed).map(|change| change.key).collect();
        if renamed.is_empty() {
            return Vec::new();
        }
        let findings = self.findings.iter();
        let of_renamed =
            findings.filter(|(_, record)| record.subject.pod().is_some_and(|pod| renamed.contains(&pod)));
        of_renamed.map(|(id, record)| (id, record.assessment.clone())).collect()
    }

    /// Judges the ports whose policies list callers and that a pod with other labels called.
    fn judge_called_by(&mut self, changed: &[PodChange]) {
        let selective: Vec<PortId> = self.ports.index().selective().collect();
        if selective.is_empty() {
            return;
        }
        for PodChange { key, before, .. } in changed {
            let Some(record) = self.facts.pods.get(*key) else { continue };
            if before.as_ref().is_some_and(|before| before.labels == record.pod.labels) {
                continue;
            }
            let is_called =
                |id: &PortId| self.ports.get(*id).is_some_and(|port| port.is_called_by(&record.label));
            self.agenda.judge_all(selective.iter().copied().filter(is_called));
        }
    }

    /// Updates everything that is derived from a pod: addresses, claims, selections and attributions.
    fn settle_pod(&mut self, key: PodKey, before: Option<&Pod>, now: BootTime) {
        if let Some(before) = before {
            self.facts.addresses.remove_pod(key, before);
        }
        let was_in = before.and_then(|before| self.facts.netns.at_path(before.netns_path.as_deref()?));
        let is_in = self.facts.netns_of(key);
        for netns in was_in.into_iter().chain(is_in) {
            self.facts.settle_claim(netns);
        }
        if was_in != is_in {
            self.agenda.judge_all(was_in.into_iter().flat_map(|netns| self.ports.of_netns(netns)));
        }
        self.select_for(key, now);
        let Some(record) = self.facts.pods.get(key) else { return };
        self.facts.addresses.add_pod(key, &record.pod);
        self.agenda.judge_all(record.ports.iter().copied());
        let waiting = self.ports.index().unattributed().chain(self.ports.index().strangers());
        let mine: Vec<PortId> = waiting.filter(|id| self.may_be_of(*id, &record.pod)).collect();
        self.agenda.judge_all(mine);
        match is_in {
            Some(netns) if was_in != is_in => self.take_over_ports(netns, now),
            _ => self.agenda.judge_all(is_in.into_iter().flat_map(|netns| self.ports.of_netns(netns))),
        }
    }

    /// Judges the ports of a netns that became a pod's before those of other netns, so that they take over the ids and
    /// findings that a port of the pod's previous netns had.
    pub(crate) fn take_over_ports(&mut self, netns: NetnsId, now: BootTime) {
        for port in self.ports.of_netns(netns) {
            self.agenda.skip(port);
            self.judge(port, now);
            self.emit_storms(now);
        }
    }

    /// Returns true if the cgroup of a process that serves the port names this pod or one of its containers. For a process
    /// without a known cgroup, true if the port's netns is mounted at the pod's path.
    fn may_be_of(&self, id: PortId, pod: &Pod) -> bool {
        let Some(bindings) = self.ports.get(id).and_then(|port| port.bindings.as_ref()) else {
            return false;
        };
        let uid = pod.uid.0.as_str();
        let path = pod.netns_path.as_deref();
        let is_at_path = || {
            self.facts.netns.facts(id.netns).is_some_and(|facts| {
                path.is_some_and(|path| facts.paths.iter().any(|one| canonical(one) == canonical(path)))
            })
        };
        bindings.processes().any(|process| {
            let Some(cgroup) = process.and_then(|process| process.cgroup.as_deref()) else {
                return is_at_path();
            };
            cgroup.contains(uid)
                || cgroup.contains(&uid.replace('-', "_"))
                || pod.containers.iter().any(|container| runs_in(process, container))
        })
    }
}
