//! Pods of all sources, merged by UID and indexed by UID, mirror, name, netns path and labels. A deleted pod stays for
//! 60 seconds, for facts that come late.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId, PodKey, PodUid, PortId};
use crate::model::netns::canonical;
use crate::model::pod::{Extent, Pod, PodRef, PodSource, label};
use crate::model::selector::Selector;
use crate::rules::attribution::PodLookup;
use crate::rules::pod_merge::PodSources;
use crate::state::netns::NetnsIndex;
use crate::state::pod_record::PodRecord;
use crate::state::selections::LabelIndex;

/// How long a deleted pod is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// What an update of pods changed.
#[derive(Debug, Default)]
pub(crate) struct PodChanges {
    /// Pods that are new, differ, or are back.
    pub changed: Vec<PodChange>,
    /// Pods that no source reports any more.
    pub departed: Vec<PodKey>,
}

/// A pod that is new, differs, or is back.
#[derive(Debug)]
pub(crate) struct PodChange {
    /// The pod.
    pub key: PodKey,
    /// The previous version; `None` if the pod is new.
    pub before: Option<Arc<Pod>>,
    /// How far the versions differ.
    pub extent: Extent,
}

/// All pods.
#[derive(Debug, Default)]
pub(crate) struct PodIndex {
    /// Pods of each source by UID.
    sources: BTreeMap<PodSource, HashMap<PodUid, Arc<Pod>>>,
    /// Pods by UID and by mirror UID.
    keys: HashMap<PodUid, PodKey>,
    records: HashMap<PodKey, PodRecord>,
    by_path: HashMap<String, BTreeSet<PodKey>>,
    by_name: BTreeMap<(String, String), BTreeSet<PodKey>>,
    labels: LabelIndex,
    host_network: BTreeSet<PodKey>,
    /// Paths of each netns, to find the pod of an address.
    paths: HashMap<NetnsId, Vec<String>>,
    /// Deleted pods, with the time at which each is forgotten.
    leaving: VecDeque<(BootTime, PodKey)>,
    next: u32,
}

impl PodIndex {
    #[must_use]
    pub(crate) fn get(&self, key: PodKey) -> Option<&PodRecord> {
        self.records.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: PodKey) -> Option<&mut PodRecord> {
        self.records.get_mut(&key)
    }

    /// Returns true if a source still reports the pod.
    #[must_use]
    pub(crate) fn is_live(&self, key: PodKey) -> bool {
        self.records.get(&key).is_some_and(|record| record.departed.is_none())
    }

    /// Returns the pod with this UID or mirror UID.
    #[must_use]
    pub(crate) fn by_uid(&self, uid: &PodUid) -> Option<PodKey> {
        self.keys.get(uid).copied()
    }

    /// Returns the pod with this UID or mirror UID, and the UID that the API server has for it; `None` if the API
    /// server does not know the pod.
    #[must_use]
    pub(crate) fn at_server(&self, uid: &PodUid) -> Option<(&PodRecord, &PodUid)> {
        let record = self.get(self.by_uid(uid)?)?;
        let known = self.sources.get(&PodSource::ApiServer)?.get(&record.pod.uid)?;
        let is_same = (&known.namespace, &known.name) == (&record.pod.namespace, &record.pod.name);
        is_same.then(|| (record, known.mirror.as_ref().unwrap_or(&known.uid)))
    }

    /// Returns the live pod with this name, else the one that was deleted last.
    #[must_use]
    pub(crate) fn by_name(&self, namespace: &str, name: &str) -> Option<PodKey> {
        self.choose(self.by_name.get(&(namespace.to_owned(), name.to_owned()))?)
    }

    /// Returns every pod of a Kubernetes namespace.
    pub(crate) fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = PodKey> + 'a {
        let from = self.by_name.range((namespace.to_owned(), String::new())..);
        from.take_while(move |((of, _), _)| of == namespace).flat_map(|(_, keys)| keys.iter().copied())
    }

    /// The pod whose netns is mounted at this path.
    #[must_use]
    pub(crate) fn by_path(&self, path: &str) -> Option<PodKey> {
        self.choose(self.by_path.get(canonical(path))?)
    }

    /// Returns the netns that a pod lives in, if it was reported.
    #[must_use]
    pub(crate) fn netns(&self, key: PodKey, netns: &NetnsIndex) -> Option<NetnsId> {
        let pod = &self.records.get(&key)?.pod;
        if pod.host_network {
            return netns.host();
        }
        netns.at_path(pod.netns_path.as_deref()?)
    }

    /// Returns true if the netns of the pod will be known soon: no netns was seen at the pod's path yet, or the runtime,
    /// which knows the path, has not reported the pod yet.
    #[must_use]
    pub(crate) fn awaits_netns(&self, key: PodKey, netns: &NetnsIndex) -> bool {
        let Some(pod) = self.records.get(&key).map(|record| &record.pod) else { return false };
        if pod.host_network {
            return false;
        }
        match &pod.netns_path {
            Some(path) => netns.at_path(path).is_none(),
            None => {
                let runtime = self.sources.get(&PodSource::Runtime);
                runtime.is_some_and(|known| !known.is_empty() && !known.contains_key(&pod.uid))
            }
        }
    }

    /// Returns the pod that lives in a netns.
    #[must_use]
    pub(crate) fn in_netns(&self, netns: NetnsId) -> Option<PodKey> {
        self.paths.get(&netns)?.iter().find_map(|path| self.by_path(path))
    }

    /// Notes the paths at which a netns is mounted; none for an ended netns.
    pub(crate) fn learn_paths(&mut self, netns: NetnsId, paths: &[String]) {
        if paths.is_empty() {
            self.paths.remove(&netns);
        } else {
            self.paths.insert(netns, paths.to_vec());
        }
    }

    /// Returns the hostNetwork pods.
    pub(crate) fn in_host_network(&self) -> impl Iterator<Item = PodKey> + '_ {
        self.host_network.iter().copied()
    }

    /// Returns every pod that one of these objects may select.
    #[must_use]
    pub(crate) fn selected_by<T: Selector>(&self, objects: &[Arc<T>]) -> BTreeSet<PodKey> {
        objects.iter().flat_map(|object| self.labels.candidates(object.as_ref())).collect()
    }

    /// Replaces all pods of a source.
    pub(crate) fn replace(&mut self, source: PodSource, pods: Vec<Pod>, now: BootTime) -> PodChanges {
        let mut next = HashMap::with_capacity(pods.len());
        let mut before = self.sources.remove(&source).unwrap_or_default();
        let mut touched = Vec::new();
        for pod in pods {
            let uid = pod.uid.clone();
            match before.remove(&uid) {
                Some(known) if *known == pod => {
                    next.insert(uid, known);
                }
                _ => {
                    touched.push(uid.clone());
                    next.insert(uid, Arc::new(pod));
                }
            }
        }
        touched.extend(before.into_keys());
        touched.sort();
        touched.dedup();
        self.sources.insert(source, next);
        let mut changes = PodChanges::default();
        for uid in touched {
            self.settle(&uid, now, &mut changes);
        }
        changes
    }

    /// Replaces one pod of a source.
    pub(crate) fn change(&mut self, source: PodSource, pod: Pod, now: BootTime) -> PodChanges {
        let uid = pod.uid.clone();
        let mut changes = PodChanges::default();
        let known = self.sources.entry(source).or_default().insert(uid.clone(), Arc::new(pod));
        let same = known.as_ref() == self.sources.get(&source).and_then(|pods| pods.get(&uid));
        if !same {
            self.settle(&uid, now, &mut changes);
        }
        changes
    }

    /// Removes one pod of a source, named by its UID or its mirror's.
    pub(crate) fn remove(&mut self, source: PodSource, uid: &PodUid, now: BootTime) -> PodChanges {
        let mut changes = PodChanges::default();
        let known = self.sources.get(&source).is_some_and(|pods| pods.contains_key(uid));
        let main = self.by_uid(uid).and_then(|key| self.get(key)).map(|record| record.pod.uid.clone());
        let uid = &main.filter(|_| !known).unwrap_or_else(|| uid.clone());
        if self.sources.get_mut(&source).is_some_and(|pods| pods.remove(uid).is_some()) {
            self.settle(uid, now, &mut changes);
        }
        changes
    }

    /// Returns when [`Self::sweep`] has something to forget next.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Forgets pods that were deleted long ago. Returns the ports that lose their pod.
    pub(crate) fn sweep(&mut self, now: BootTime) -> Vec<PortId> {
        let mut orphans = Vec::new();
        while let Some((_, key)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if self.records.get(&key).is_none_or(|r| r.departed.is_none_or(|at| at.after(MEMORY) > now)) {
                continue;
            }
            if let Some(record) = self.records.remove(&key) {
                self.unlist(key, &record.pod);
                self.forget_uids(key, &record.pod);
                orphans.extend(record.ports);
            }
        }
        orphans
    }

    /// Returns the pods that a source reports.
    pub(crate) fn live(&self) -> impl Iterator<Item = (PodKey, &PodRecord)> {
        self.records
            .iter()
            .filter(|(_, record)| record.departed.is_none())
            .map(|(key, record)| (*key, record))
    }

    /// Prefers a live pod, then the one that was deleted last.
    fn choose(&self, keys: &BTreeSet<PodKey>) -> Option<PodKey> {
        if keys.len() == 1 {
            return keys.first().copied();
        }
        let rank = |key: &&PodKey| {
            let record = self.records.get(*key);
            record.map(|record| (record.departed.is_none(), record.departed, &record.pod.uid))
        };
        keys.iter().max_by_key(rank).copied()
    }

    /// Brings one pod in line with what the sources report now.
    fn settle(&mut self, uid: &PodUid, now: BootTime, changes: &mut PodChanges) {
        let effective = self.merged(uid);
        // The UID may also be the mirror of another pod, which is not the one to settle.
        let key = self.by_uid(uid).filter(|key| self.get(*key).is_some_and(|record| record.pod.uid == *uid));
        match (effective, key) {
            (Some(pod), Some(key)) => {
                let Some(record) = self.records.get_mut(&key) else { return };
                if record.pod == pod && record.departed.is_none() {
                    return;
                }
                let back = record.departed.take().is_some();
                if !record.reference.names(&pod) {
                    record.reference = Arc::new(PodRef::of(&pod));
                    record.label = label(&pod);
                }
                let before = std::mem::replace(&mut record.pod, Arc::clone(&pod));
                if is_found_alike(&before, &pod) {
                    self.labels.relabel(key, &before, &pod);
                } else {
                    self.unlist(key, &before);
                    self.forget_uids(key, &before);
                    self.list(key, &pod);
                }
                let extent = if back { Extent::More } else { before.extent_of_change(&pod) };
                changes.changed.push(PodChange { key, before: Some(before), extent });
            }
            (Some(pod), None) => {
                let key = PodKey(self.next);
                self.next = self.next.wrapping_add(1);
                self.list(key, &pod);
                self.records.insert(key, PodRecord::new(pod));
                changes.changed.push(PodChange { key, before: None, extent: Extent::More });
            }
            (None, Some(key)) => {
                if let Some(record) = self.records.get_mut(&key)
                    && record.departed.is_none()
                {
                    record.departed = Some(now);
                    self.leaving.push_back((now.after(MEMORY), key));
                    changes.departed.push(key);
                }
            }
            (None, None) => {}
        }
    }

    /// Merges what the sources report about a pod.
    fn merged(&self, uid: &PodUid) -> Option<Arc<Pod>> {
        let mut known = PodSources::default();
        for (&source, pods) in &self.sources {
            if let Some(pod) = pods.get(uid) {
                known.add(source, pod);
            }
        }
        known.merge()
    }

    fn list(&mut self, key: PodKey, pod: &Pod) {
        self.by_name.entry((pod.namespace.clone(), pod.name.clone())).or_default().insert(key);
        self.labels.add(key, pod);
        self.keys.insert(pod.uid.clone(), key);
        if let Some(mirror) = &pod.mirror {
            self.keys.entry(mirror.clone()).or_insert(key);
        }
        if pod.host_network {
            self.host_network.insert(key);
        }
        if let Some(path) = pod.netns_path.as_deref().filter(|_| !pod.host_network) {
            self.by_path.entry(canonical(path).to_owned()).or_default().insert(key);
        }
    }

    fn forget_uids(&mut self, key: PodKey, pod: &Pod) {
        for uid in std::iter::once(&pod.uid).chain(&pod.mirror) {
            if self.keys.get(uid) == Some(&key) {
                self.keys.remove(uid);
            }
        }
    }

    fn unlist(&mut self, key: PodKey, pod: &Pod) {
        self.labels.remove(key, pod);
        self.host_network.remove(&key);
        let name = (pod.namespace.clone(), pod.name.clone());
        if let Some(keys) = self.by_name.get_mut(&name) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_name.remove(&name);
            }
        }
        let Some(path) = pod.netns_path.as_deref() else { return };
        if let Some(keys) = self.by_path.get_mut(canonical(path)) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_path.remove(canonical(path));
            }
        }
    }
}

impl PodLookup for PodIndex {
    fn by_path(&self, path: &str) -> Option<PodKey> {
        Self::by_path(self, path)
    }

    fn by_uid(&self, uid: &PodUid) -> Option<PodKey> {
        Self::by_uid(self, uid)
    }

    fn uses_host_network(&self, pod: PodKey) -> bool {
        self.get(pod).is_some_and(|record| record.pod.host_network)
    }
}

/// Returns true if both versions have the same index entries, labels aside.
fn is_found_alike(a: &Pod, b: &Pod) -> bool {
    (&a.namespace, &a.name, &a.mirror) == (&b.namespace, &b.name, &b.mirror)
        && (a.host_network, &a.netns_path) == (b.host_network, &b.netns_path)
}
