//! Pods of all sources, merged by UID, with the netns each lives in. A deleted pod stays for a moment as a name for what
//! comes late.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::change::PodRef;
use super::crowd::Crowd;
use super::identity::{BootTime, NetnsId, PodUid, PortId, Protocol};
use super::netns_index::{NetnsIndex, canonical};
use super::pod::Pod;

/// How long a deleted pod is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// A pod within the engine: four bytes instead of a UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey(u32);

/// One pod and what the engine keeps about it.
#[derive(Debug)]
pub struct PodRecord {
    pub pod: Arc<Pod>,
    pub reference: Arc<PodRef>,
    /// `NAMESPACE/NAME`, shared by all peers that are this pod.
    pub label: Arc<str>,
    pub departed: Option<BootTime>,
    /// Ports that are attributed to it.
    pub ports: BTreeSet<PortId>,
    /// Those of them that make findings.
    pub crowd: Crowd,
    /// Declared ports that nobody serves, and since when.
    pub silent: BTreeMap<(Protocol, NonZeroU16), BootTime>,
}

/// What a new list of pods changed.
#[derive(Debug, Default)]
pub struct PodChanges {
    /// Pods that are new or differ, with the addresses they had before.
    pub changed: Vec<(PodKey, Option<Arc<Pod>>)>,
    pub departed: Vec<PodKey>,
}

/// All pods.
#[derive(Debug, Default)]
pub struct PodIndex {
    sources: BTreeMap<&'static str, HashMap<PodUid, Arc<Pod>>>,
    keys: HashMap<PodUid, PodKey>,
    records: HashMap<PodKey, PodRecord>,
    by_path: HashMap<String, BTreeSet<PodKey>>,
    by_name: BTreeMap<(String, String), BTreeSet<PodKey>>,
    /// Paths of each netns, to find the pod of an address.
    paths: HashMap<NetnsId, Vec<String>>,
    leaving: VecDeque<(BootTime, PodKey)>,
    next: u32,
}

impl PodIndex {
    #[must_use]
    pub fn get(&self, key: PodKey) -> Option<&PodRecord> {
        self.records.get(&key)
    }

    pub fn get_mut(&mut self, key: PodKey) -> Option<&mut PodRecord> {
        self.records.get_mut(&key)
    }

    #[must_use]
    pub fn by_uid(&self, uid: &PodUid) -> Option<PodKey> {
        self.keys.get(uid).copied()
    }

    /// The pod of that name that is there, else the one that was there last.
    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<PodKey> {
        self.choose(self.by_name.get(&(namespace.to_owned(), name.to_owned()))?)
    }

    /// The pod whose netns is mounted at this path.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<PodKey> {
        self.choose(self.by_path.get(canonical(path))?)
    }

    /// The netns a pod lives in, if it was seen.
    #[must_use]
    pub fn netns(&self, key: PodKey, netns: &NetnsIndex) -> Option<NetnsId> {
        let pod = &self.records.get(&key)?.pod;
        if pod.host_network {
            return netns.host();
        }
        netns.at_path(pod.netns_path.as_deref()?)
    }

    /// The pod that lives in a netns.
    #[must_use]
    pub fn in_netns(&self, netns: NetnsId) -> Option<PodKey> {
        self.paths.get(&netns)?.iter().find_map(|path| self.by_path(path))
    }

    /// Notes where a netns is mounted; nothing for one that ended.
    pub fn learn_paths(&mut self, netns: NetnsId, paths: &[String]) {
        if paths.is_empty() {
            self.paths.remove(&netns);
        } else {
            self.paths.insert(netns, paths.to_vec());
        }
    }

    /// Replaces one source's pods.
    pub fn replace(&mut self, source: &'static str, pods: Vec<Pod>, now: BootTime) -> PodChanges {
        let mut next = HashMap::with_capacity(pods.len());
        let mut before = self.sources.remove(source).unwrap_or_default();
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
    pub fn change(&mut self, source: &'static str, pod: Pod, now: BootTime) -> PodChanges {
        let uid = pod.uid.clone();
        let mut changes = PodChanges::default();
        let known = self.sources.entry(source).or_default().insert(uid.clone(), Arc::new(pod));
        let same = known.as_ref() == self.sources.get(source).and_then(|pods| pods.get(&uid));
        if !same {
            self.settle(&uid, now, &mut changes);
        }
        changes
    }

    /// Forgets one pod of a source.
    pub fn remove(&mut self, source: &'static str, uid: &PodUid, now: BootTime) -> PodChanges {
        let mut changes = PodChanges::default();
        if self.sources.get_mut(source).is_some_and(|pods| pods.remove(uid).is_some()) {
            self.settle(uid, now, &mut changes);
        }
        changes
    }

    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Forgets pods that left long ago; returns the ports that lose their pod by it.
    pub fn sweep(&mut self, now: BootTime) -> Vec<PortId> {
        let mut orphans = Vec::new();
        while let Some((_, key)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if self.records.get(&key).is_none_or(|r| r.departed.is_none_or(|at| at.after(MEMORY) > now)) {
                continue;
            }
            if let Some(record) = self.records.remove(&key) {
                self.unlist(key, &record.pod);
                self.keys.remove(&record.pod.uid);
                orphans.extend(record.ports);
            }
        }
        orphans
    }

    /// Pods that exist.
    pub fn live(&self) -> impl Iterator<Item = (PodKey, &PodRecord)> {
        self.records
            .iter()
            .filter(|(_, record)| record.departed.is_none())
            .map(|(key, record)| (*key, record))
    }

    fn choose(&self, keys: &BTreeSet<PodKey>) -> Option<PodKey> {
        let rank = |key: &&PodKey| {
            let record = self.records.get(*key);
            record.map(|record| (record.departed.is_none(), record.departed, record.pod.uid.clone()))
        };
        keys.iter().max_by_key(rank).copied()
    }

    /// Brings one pod in line with what the sources say of it now.
    fn settle(&mut self, uid: &PodUid, now: BootTime, changes: &mut PodChanges) {
        let effective = self.strongest(uid);
        let key = self.keys.get(uid).copied();
        match (effective, key) {
            (Some(pod), Some(key)) => {
                let Some(record) = self.records.get_mut(&key) else { return };
                if record.pod == pod && record.departed.is_none() {
                    return;
                }
                record.departed = None;
                record.reference = Arc::new(refer(&pod));
                record.label = label(&pod);
                let before = std::mem::replace(&mut record.pod, Arc::clone(&pod));
                self.unlist(key, &before);
                self.list(key, &pod);
                changes.changed.push((key, Some(before)));
            }
            (Some(pod), None) => {
                let key = PodKey(self.next);
                self.next = self.next.wrapping_add(1);
                self.keys.insert(uid.clone(), key);
                self.list(key, &pod);
                self.records.insert(key, PodRecord::new(pod));
                changes.changed.push((key, None));
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

    /// The strongest source's word: the runtime, the API server, then files.
    fn strongest(&self, uid: &PodUid) -> Option<Arc<Pod>> {
        let rank = |source: &str| match source {
            "cri" => 0,
            "kubernetes" | "api" => 1,
            _ => 2,
        };
        let told = self.sources.iter().filter_map(|(source, pods)| Some((rank(source), pods.get(uid)?)));
        told.min_by_key(|(rank, _)| *rank).map(|(_, pod)| Arc::clone(pod))
    }

    fn list(&mut self, key: PodKey, pod: &Pod) {
        self.by_name.entry((pod.namespace.clone(), pod.name.clone())).or_default().insert(key);
        if let Some(path) = pod.netns_path.as_deref().filter(|_| !pod.host_network) {
            self.by_path.entry(canonical(path).to_owned()).or_default().insert(key);
        }
    }

    fn unlist(&mut self, key: PodKey, pod: &Pod) {
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

impl PodRecord {
    fn new(pod: Arc<Pod>) -> Self {
        Self {
            reference: Arc::new(refer(&pod)),
            label: label(&pod),
            pod,
            departed: None,
            ports: BTreeSet::new(),
            crowd: Crowd::default(),
            silent: BTreeMap::new(),
        }
    }
}

fn refer(pod: &Pod) -> PodRef {
    PodRef {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        workload: pod.workload.clone(),
        host_network: pod.host_network,
    }
}

fn label(pod: &Pod) -> Arc<str> {
    format!("{}/{}", pod.namespace, pod.name).into()
}
