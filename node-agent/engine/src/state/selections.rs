//! Which pods an object's selector means, in both directions. Objects and pods are indexed under labels that a match
//! requires, so no lookup walks all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::identity::PodKey;
use crate::model::listing::Listing;
use crate::model::pod::Pod;
use crate::model::selector::{Selector, Selects};

/// Hash of a namespace, or of a label within a namespace. A hash collision only costs an extra comparison.
type LabelKey = u64;

fn label_key(namespace: &str, label: Option<(&str, &str)>) -> LabelKey {
    let mut hasher = LabelHasher::default();
    hasher.add(namespace);
    if let Some((key, value)) = label {
        hasher.add(key);
        hasher.add(value);
    }
    hasher.0
}

/// A hash of texts that is neither reported nor stored. Takes eight bytes at a time, because every label of a changed
/// pod needs it.
#[derive(Clone, Copy, Debug, Default)]
struct LabelHasher(u64);

impl LabelHasher {
    fn add(&mut self, text: &str) {
        let mut chunks = text.as_bytes().chunks_exact(8);
        for chunk in chunks.by_ref() {
            self.mix(chunk);
        }
        self.mix(chunks.remainder());
        // Distinguishes `ab` + `c` from `a` + `bc`.
        self.0 = self.0.wrapping_add(text.len() as u64);
    }

    fn mix(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Returns alternative lists of keys. Looking at one of the lists finds every pod that the object selects.
fn alternatives(object: &impl Selector) -> Vec<Vec<LabelKey>> {
    let namespace = object.namespace();
    let mut alternatives: Vec<Vec<LabelKey>> = object
        .needs()
        .into_iter()
        .map(|labels| labels.into_iter().map(|label| label_key(namespace, Some(label))).collect())
        .collect();
    if alternatives.is_empty() {
        alternatives.push(vec![label_key(namespace, None)]);
    }
    alternatives
}

/// Returns the alternative with the fewest entries to look at.
fn shortest(alternatives: Vec<Vec<LabelKey>>, length: impl Fn(&LabelKey) -> usize) -> Vec<LabelKey> {
    alternatives.into_iter().min_by_key(|keys| keys.iter().map(&length).sum::<usize>()).unwrap_or_default()
}

/// Returns the keys of a pod: its namespace, and each of its labels.
fn label_keys(pod: &Pod) -> impl Iterator<Item = LabelKey> + '_ {
    let labels = pod.labels.iter().map(|(key, value)| Some((key.as_str(), value.as_str())));
    std::iter::once(None).chain(labels).map(|label| label_key(&pod.namespace, label))
}

/// Returns the keys of the labels that one pod has and the other lacks.
fn missing<'a>(one: &'a Pod, other: &'a Pod) -> impl Iterator<Item = LabelKey> + 'a {
    let labels = one.labels.iter().filter(|(key, value)| other.labels.get(*key) != Some(value));
    labels.map(|(key, value)| label_key(&one.namespace, Some((key, value))))
}

/// Pods by namespace and label.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex {
    pods: HashMap<LabelKey, Vec<PodKey>>,
}

impl LabelIndex {
    pub(crate) fn add(&mut self, key: PodKey, pod: &Pod) {
        label_keys(pod).for_each(|label_key| self.put(key, label_key));
    }

    pub(crate) fn remove(&mut self, key: PodKey, pod: &Pod) {
        label_keys(pod).for_each(|label_key| self.take(key, label_key));
    }

    /// Updates the labels of a pod, whose namespace never changes.
    pub(crate) fn relabel(&mut self, key: PodKey, before: &Pod, after: &Pod) {
        for label_key in missing(before, after) {
            self.take(key, label_key);
        }
        // All keys, because the key of a removed label may collide with one that stays.
        for label_key in label_keys(after) {
            self.put(key, label_key);
        }
    }

    fn put(&mut self, key: PodKey, label_key: LabelKey) {
        let listed = self.pods.entry(label_key).or_default();
        if let Err(slot) = listed.binary_search(&key) {
            listed.insert(slot, key);
        }
    }

    fn take(&mut self, key: PodKey, label_key: LabelKey) {
        let Some(listed) = self.pods.get_mut(&label_key) else { return };
        if let Ok(slot) = listed.binary_search(&key) {
            listed.remove(slot);
        }
        if listed.is_empty() {
            self.pods.remove(&label_key);
        }
    }

    /// Returns every pod that the object may select, and few others.
    pub(crate) fn candidates(&self, object: &impl Selector) -> impl Iterator<Item = PodKey> + '_ {
        let keys = shortest(alternatives(object), |label_key| self.pods.get(label_key).map_or(0, Vec::len));
        keys.into_iter().filter_map(|label_key| self.pods.get(&label_key)).flatten().copied()
    }
}

/// The objects of one kind, and which of them select a pod.
#[derive(Debug)]
pub(crate) struct Selection<T> {
    /// True if every object was listed and the source can still see the kind.
    known: bool,
    /// Objects by namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Entry<T>>>,
    /// Objects by one label key that a selected pod has.
    anchored: HashMap<LabelKey, Vec<Arc<T>>>,
}

/// One object.
#[derive(Debug)]
struct Entry<T> {
    object: Arc<T>,
    /// The keys under which the object is indexed.
    anchors: Vec<LabelKey>,
}

impl<T> Default for Selection<T> {
    fn default() -> Self {
        Self { known: false, objects: BTreeMap::new(), anchored: HashMap::new() }
    }
}

impl<T: Selector> Selection<T> {
    #[must_use]
    pub(crate) const fn known(&self) -> bool {
        self.known
    }

    #[must_use]
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.entry(namespace, name).map(|entry| &entry.object)
    }

    /// Returns every object, by namespace and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values().flat_map(BTreeMap::values).map(|entry| &entry.object)
    }

    /// Applies an update. Returns both versions of every object that came, went or differs.
    pub(crate) fn take(&mut self, listing: Listing<T>) -> Vec<Arc<T>> {
        match listing {
            Listing::All(objects) => {
                self.known = true;
                self.replace(objects)
            }
            Listing::Changed(object) => self.change(*object),
            Listing::Gone { namespace, name } => self.remove(&namespace, &name).into_iter().collect(),
            Listing::Unavailable => {
                self.known = false;
                self.replace(Vec::new())
            }
        }
    }

    /// Returns the objects that select, or may select, a pod with these labels, by name.
    #[must_use]
    pub(crate) fn selecting(&self, pod: &Pod) -> Vec<(Arc<T>, Selects)> {
        let mut found: Vec<(Arc<T>, Selects)> = label_keys(pod)
            .filter_map(|label_key| self.anchored.get(&label_key))
            .flatten()
            .filter(|object| object.namespace() == pod.namespace)
            .map(|object| (Arc::clone(object), object.selects(&pod.labels)))
            .filter(|(_, selects)| *selects != Selects::No)
            .collect();
        found.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
        found.dedup_by(|(a, _), (b, _)| a.name() == b.name());
        found.shrink_to_fit();
        found
    }

    /// Updates a list as returned by [`Self::selecting`], given that only the `touched` objects came, went or differ.
    /// Returns the previous list if it changed.
    pub(crate) fn reselect(
        &self,
        pod: &Pod,
        listed: &mut Vec<(Arc<T>, Selects)>,
        touched: &[Arc<T>],
    ) -> Option<Vec<(Arc<T>, Selects)>> {
        let mut before = None;
        for object in touched.iter().filter(|object| object.namespace() == pod.namespace) {
            let slot = listed.binary_search_by(|(known, _)| known.name().cmp(object.name()));
            let now = self.get(object.namespace(), object.name());
            let now = now.map(|now| (Arc::clone(now), now.selects(&pod.labels)));
            let now = now.filter(|(_, selects)| *selects != Selects::No);
            if slot.ok().and_then(|slot| listed.get(slot)) == now.as_ref() {
                continue;
            }
            before.get_or_insert_with(|| listed.clone());
            match (slot, now) {
                (Ok(slot), Some(now)) => listed.splice(slot..=slot, [now]).for_each(drop),
                (Ok(slot), None) => drop(listed.remove(slot)),
                (Err(slot), Some(now)) => {
                    listed.reserve_exact(1);
                    listed.insert(slot, now);
                }
                (Err(_), None) => {}
            }
        }
        before
    }

    fn entry(&self, namespace: &str, name: &str) -> Option<&Entry<T>> {
        self.objects.get(namespace)?.get(name)
    }

    fn replace(&mut self, objects: Vec<T>) -> Vec<Arc<T>> {
        let mut gone: BTreeSet<(String, String)> = self.iter().map(|object| name(object.as_ref())).collect();
        let mut touched = Vec::new();
        for object in objects {
            gone.remove(&name(&object));
            touched.extend(self.change(object));
        }
        touched.extend(gone.iter().filter_map(|(namespace, name)| self.remove(namespace, name)));
        touched
    }

    fn change(&mut self, object: T) -> Vec<Arc<T>> {
        let known = self.entry(object.namespace(), object.name());
        if known.is_some_and(|entry| *entry.object == object) {
            return Vec::new();
        }
        let mut touched: Vec<Arc<T>> = self.remove(object.namespace(), object.name()).into_iter().collect();
        let anchors =
            shortest(alternatives(&object), |label_key| self.anchored.get(label_key).map_or(0, Vec::len));
        let object = Arc::new(object);
        for label_key in &anchors {
            self.anchored.entry(*label_key).or_default().push(Arc::clone(&object));
        }
        let (namespace, name) = name(object.as_ref());
        self.objects
            .entry(namespace)
            .or_default()
            .insert(name, Entry { object: Arc::clone(&object), anchors });
        touched.push(object);
        touched
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let of_namespace = self.objects.get_mut(namespace)?;
        let entry = of_namespace.remove(name)?;
        if of_namespace.is_empty() {
            self.objects.remove(namespace);
        }
        for label_key in &entry.anchors {
            let Some(listed) = self.anchored.get_mut(label_key) else { continue };
            listed.retain(|object| !Arc::ptr_eq(object, &entry.object));
            if listed.is_empty() {
                self.anchored.remove(label_key);
            }
        }
        Some(entry.object)
    }
}

fn name(object: &impl Selector) -> (String, String) {
    (object.namespace().to_owned(), object.name().to_owned())
}
