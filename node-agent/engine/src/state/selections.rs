//! Which pods an object's selector means, in both directions. Objects and pods are indexed under labels that a match
//! requires, so no lookup walks all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::identity::PodKey;
use crate::model::listing::Listing;
use crate::model::pod::Pod;
use crate::model::selector::{Selector, Selects};

/// A namespace, or a label within it, as a number; two that fall together only cost a look in vain.
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

/// A number of texts that is never told nor kept: eight bytes at once, since every label of a changed pod needs it.
#[derive(Clone, Copy, Debug, Default)]
struct LabelHasher(u64);

impl LabelHasher {
    fn add(&mut self, text: &str) {
        let mut chunks = text.as_bytes().chunks_exact(8);
        for chunk in chunks.by_ref() {
            self.mix(chunk);
        }
        self.mix(chunks.remainder());
        // Which text a byte belongs to.
        self.0 = self.0.wrapping_add(text.len() as u64);
    }

    fn mix(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Alternatives of places: whatever an object selects is found by looking at one of these lists.
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

/// The way with the least to look at.
fn shortest(alternatives: Vec<Vec<LabelKey>>, length: impl Fn(&LabelKey) -> usize) -> Vec<LabelKey> {
    alternatives.into_iter().min_by_key(|keys| keys.iter().map(&length).sum::<usize>()).unwrap_or_default()
}

fn label_keys(pod: &Pod) -> impl Iterator<Item = LabelKey> + '_ {
    let labels = pod.labels.iter().map(|(key, value)| Some((key.as_str(), value.as_str())));
    std::iter::once(None).chain(labels).map(|label| label_key(&pod.namespace, label))
}

/// Places of the labels that one has and the other has not.
fn missing<'a>(one: &'a Pod, other: &'a Pod) -> impl Iterator<Item = LabelKey> + 'a {
    let labels = one.labels.iter().filter(|(key, value)| other.labels.get(*key) != Some(value));
    labels.map(|(key, value)| label_key(&one.namespace, Some((key, value))))
}

/// Pods by namespace and label.
#[derive(Debug, Default)]
pub struct LabelIndex {
    pods: HashMap<LabelKey, Vec<PodKey>>,
}

impl LabelIndex {
    pub fn add(&mut self, key: PodKey, pod: &Pod) {
        label_keys(pod).for_each(|label_key| self.put(key, label_key));
    }

    pub fn remove(&mut self, key: PodKey, pod: &Pod) {
        label_keys(pod).for_each(|label_key| self.take(key, label_key));
    }

    /// Brings a pod's labels up to date; its namespace never changes.
    pub fn relabel(&mut self, key: PodKey, before: &Pod, after: &Pod) {
        for label_key in missing(before, after) {
            self.take(key, label_key);
        }
        // All of them: a label that is gone may have fallen together with one that stays.
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

    /// Every pod that the object may select, and hardly any other.
    pub fn candidates(&self, object: &impl Selector) -> impl Iterator<Item = PodKey> + '_ {
        let keys = shortest(alternatives(object), |label_key| self.pods.get(label_key).map_or(0, Vec::len));
        keys.into_iter().filter_map(|label_key| self.pods.get(&label_key)).flatten().copied()
    }
}

/// One kind of objects, and which of them select a pod.
#[derive(Debug)]
pub struct Selection<T> {
    /// All of them were told, and the source may still see them.
    known: bool,
    /// By namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Entry<T>>>,
    anchored: HashMap<LabelKey, Vec<Arc<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    object: Arc<T>,
    /// Where it is listed.
    anchors: Vec<LabelKey>,
}

impl<T> Default for Selection<T> {
    fn default() -> Self {
        Self { known: false, objects: BTreeMap::new(), anchored: HashMap::new() }
    }
}

impl<T: Selector> Selection<T> {
    #[must_use]
    pub const fn known(&self) -> bool {
        self.known
    }

    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.entry(namespace, name).map(|entry| &entry.object)
    }

    /// Every object, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values().flat_map(BTreeMap::values).map(|entry| &entry.object)
    }

    /// Takes a source's word in. Returns every object that came, went or differs, the old one and the new.
    pub fn take(&mut self, listing: Listing<T>) -> Vec<Arc<T>> {
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

    /// The objects that select, or may select, a pod with these labels, by name.
    #[must_use]
    pub fn selecting(&self, pod: &Pod) -> Vec<(Arc<T>, Selects)> {
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

    /// Brings the list of those that select a pod up to date, which is as [`Self::selecting`] makes it, where only these objects
    /// came, went or differ. Returns the list before if it was another.
    pub fn reselect(
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
