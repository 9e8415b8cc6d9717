//! Which pods an object's selector means, both ways, without looking at all objects or all pods: both sides are listed
//! under labels that a match cannot do without.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::input::Listing;
use super::pod::Pod;
use super::pod_index::PodKey;

/// Whether a selector means a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selects {
    No,
    /// The selector says something that this version does not understand.
    Maybe,
    Yes,
}

/// An object that selects pods of its own namespace by their labels.
pub trait Selector: PartialEq {
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    /// Sets of labels, of each of which a selected pod has at least one. An empty set: nothing is selected.
    fn needs(&self) -> Vec<Vec<(&str, &str)>>;
    fn selects(&self, labels: &BTreeMap<String, String>) -> Selects;
}

/// A namespace, or a label within it, as a number; two that fall together only cost a look in vain.
type Place = u64;

fn place(namespace: &str, label: Option<(&str, &str)>) -> Place {
    let mut words = Words::default();
    words.add(namespace);
    if let Some((key, value)) = label {
        words.add(key);
        words.add(value);
    }
    words.0
}

/// A number of texts that is never told nor kept: eight bytes at once, since every label of a changed pod needs it.
#[derive(Clone, Copy, Debug, Default)]
struct Words(u64);

impl Words {
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
fn ways(object: &impl Selector) -> Vec<Vec<Place>> {
    let namespace = object.namespace();
    let mut ways: Vec<Vec<Place>> = object
        .needs()
        .into_iter()
        .map(|labels| labels.into_iter().map(|label| place(namespace, Some(label))).collect())
        .collect();
    if ways.is_empty() {
        ways.push(vec![place(namespace, None)]);
    }
    ways
}

/// The way with the least to look at.
fn shortest(ways: Vec<Vec<Place>>, length: impl Fn(&Place) -> usize) -> Vec<Place> {
    ways.into_iter().min_by_key(|way| way.iter().map(&length).sum::<usize>()).unwrap_or_default()
}

fn places(pod: &Pod) -> impl Iterator<Item = Place> + '_ {
    let labels = pod.labels.iter().map(|(key, value)| Some((key.as_str(), value.as_str())));
    std::iter::once(None).chain(labels).map(|label| place(&pod.namespace, label))
}

/// Places of the labels that one has and the other has not.
fn missing<'a>(one: &'a Pod, other: &'a Pod) -> impl Iterator<Item = Place> + 'a {
    let labels = one.labels.iter().filter(|(key, value)| other.labels.get(*key) != Some(value));
    labels.map(|(key, value)| place(&one.namespace, Some((key, value))))
}

/// Pods by namespace and label.
#[derive(Debug, Default)]
pub struct LabelIndex {
    pods: HashMap<Place, Vec<PodKey>>,
}

impl LabelIndex {
    pub fn add(&mut self, key: PodKey, pod: &Pod) {
        places(pod).for_each(|place| self.put(key, place));
    }

    pub fn remove(&mut self, key: PodKey, pod: &Pod) {
        places(pod).for_each(|place| self.take(key, place));
    }

    /// Brings a pod's labels up to date; its namespace never changes.
    pub fn relabel(&mut self, key: PodKey, before: &Pod, after: &Pod) {
        for place in missing(before, after) {
            self.take(key, place);
        }
        // All of them: a label that is gone may have fallen together with one that stays.
        for place in places(after) {
            self.put(key, place);
        }
    }

    fn put(&mut self, key: PodKey, place: Place) {
        let listed = self.pods.entry(place).or_default();
        if let Err(slot) = listed.binary_search(&key) {
            listed.insert(slot, key);
        }
    }

    fn take(&mut self, key: PodKey, place: Place) {
        let Some(listed) = self.pods.get_mut(&place) else { return };
        if let Ok(slot) = listed.binary_search(&key) {
            listed.remove(slot);
        }
        if listed.is_empty() {
            self.pods.remove(&place);
        }
    }

    /// Every pod that the object may select, and hardly any other.
    pub fn candidates(&self, object: &impl Selector) -> impl Iterator<Item = PodKey> + '_ {
        let way = shortest(ways(object), |place| self.pods.get(place).map_or(0, Vec::len));
        way.into_iter().filter_map(|place| self.pods.get(&place)).flatten().copied()
    }
}

/// One kind of objects, and which of them select a pod.
#[derive(Debug)]
pub struct Selection<T> {
    /// All of them were told, and the source may still see them.
    known: bool,
    /// By namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Entry<T>>>,
    anchored: HashMap<Place, Vec<Arc<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    object: Arc<T>,
    /// Where it is listed.
    anchors: Vec<Place>,
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
        let mut found: Vec<(Arc<T>, Selects)> = places(pod)
            .filter_map(|place| self.anchored.get(&place))
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
        let anchors = shortest(ways(&object), |place| self.anchored.get(place).map_or(0, Vec::len));
        let object = Arc::new(object);
        for place in &anchors {
            self.anchored.entry(*place).or_default().push(Arc::clone(&object));
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
        for place in &entry.anchors {
            let Some(listed) = self.anchored.get_mut(place) else { continue };
            listed.retain(|object| !Arc::ptr_eq(object, &entry.object));
            if listed.is_empty() {
                self.anchored.remove(place);
            }
        }
        Some(entry.object)
    }
}

fn name(object: &impl Selector) -> (String, String) {
    (object.namespace().to_owned(), object.name().to_owned())
}
