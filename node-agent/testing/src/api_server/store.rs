//! Objects and the history of their changes. Every change has a revision; old history can be dropped, as etcd compacts it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api_server::resource::Resource;

/// Maximum number of changes in the history.
const HISTORY: usize = 100_000;

/// One version of an object, serialized for each kind of response.
#[derive(Debug)]
pub struct Version {
    pub revision: u64,
    pub value: Value,
    /// JSON as an item of a list: without kind and apiVersion.
    pub in_list: String,
    /// JSON as an object of its own.
    pub whole: String,
    /// JSON of its metadata as `PartialObjectMetadata`.
    pub metadata: String,
}

/// A change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: u64,
    pub resource: &'static str,
    pub before: Option<Arc<Version>>,
    /// `None` if the object was deleted.
    pub after: Option<Arc<Version>>,
    /// The last version, with the revision of the change.
    pub last: Arc<Version>,
}

/// Namespace and name.
pub type Key = (String, String);

/// All objects and their history.
#[derive(Debug)]
pub struct Store {
    pub revision: u64,
    /// Changes up to this revision are no longer in the history.
    pub forgotten: u64,
    objects: BTreeMap<&'static str, BTreeMap<Key, Arc<Version>>>,
    history: VecDeque<Change>,
}

impl Default for Store {
    fn default() -> Self {
        // A real server does not start at 0 either.
        Self::beginning_at(1000)
    }
}

impl Store {
    /// An empty store at this revision.
    #[must_use]
    pub fn beginning_at(revision: u64) -> Self {
        Self { revision, forgotten: revision, objects: BTreeMap::new(), history: VecDeque::new() }
    }

    /// Creates or replaces an object. Returns its revision.
    pub fn put(&mut self, resource: &'static Resource, mut value: Value) -> u64 {
        self.revision += 1;
        let revision = self.revision;
        let metadata = value["metadata"].as_object_mut().expect("an object has metadata");
        if resource.namespaced {
            metadata.entry("namespace").or_insert_with(|| json!("default"));
        }
        metadata.entry("uid").or_insert_with(|| json!(format!("00000000-0000-4000-8000-{revision:012x}")));
        metadata.entry("creationTimestamp").or_insert_with(|| json!("2026-01-01T00:00:00Z"));
        metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("namespace"), text("name"));
        let version = Arc::new(Version::new(resource, value, revision));
        let before = self.objects.entry(resource.plural).or_default().insert(key, Arc::clone(&version));
        self.record(Change {
            revision,
            resource: resource.plural,
            before,
            after: Some(Arc::clone(&version)),
            last: version,
        });
        revision
    }

    /// Deletes an object if it exists. Returns the revision of the deletion.
    pub fn delete(&mut self, resource: &'static Resource, namespace: &str, name: &str) -> Option<u64> {
        let key = (namespace.to_owned(), name.to_owned());
        let before = self.objects.get_mut(resource.plural)?.remove(&key)?;
        self.revision += 1;
        let mut value = before.value.clone();
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let last = Arc::new(Version::new(resource, value, self.revision));
        self.record(Change {
            revision: self.revision,
            resource: resource.plural,
            before: Some(before),
            after: None,
            last,
        });
        Some(self.revision)
    }

    fn record(&mut self, change: Change) {
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.revision;
        }
    }

    /// Drops all history: a watch from before the current revision gets status 410.
    pub fn compact(&mut self) {
        self.history.clear();
        self.forgotten = self.revision;
    }

    pub fn objects(&self, resource: &str) -> impl Iterator<Item = (&Key, &Arc<Version>)> {
        self.objects.get(resource).into_iter().flatten()
    }

    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Version>> {
        self.objects.get(resource)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Returns the changes after a revision; `None` if the history no longer has all of them.
    #[must_use]
    pub fn since(&self, resource: &str, revision: u64) -> Option<Vec<Change>> {
        if revision < self.forgotten {
            return None;
        }
        let first = self.history.partition_point(|change| change.revision <= revision);
        let changes = self.history.range(first..).filter(|change| change.resource == resource);
        Some(changes.cloned().collect())
    }
}

impl Version {
    fn new(resource: &Resource, value: Value, revision: u64) -> Self {
        let mut whole = json!({"kind": resource.kind, "apiVersion": resource.api_version()});
        let mut in_list = value.clone();
        if let (Some(whole), Some(in_list)) = (whole.as_object_mut(), in_list.as_object_mut()) {
            in_list.remove("kind");
            in_list.remove("apiVersion");
            whole.extend(in_list.clone());
        }
        let metadata = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]
        });
        Self {
            revision,
            value,
            in_list: in_list.to_string(),
            whole: whole.to_string(),
            metadata: metadata.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_whole_or_said_to_be_forgotten() {
        let mut store = Store::default();
        let pods = Resource::of("pods").expect("served");
        let first = store.put(pods, json!({"metadata": {"name": "a"}}));
        store.put(pods, json!({"metadata": {"name": "b"}}));
        store.delete(pods, "default", "a");
        assert_eq!(store.since("pods", first).map(|changes| changes.len()), Some(2));
        assert_eq!(store.since("services", first).map(|changes| changes.len()), Some(0));
        store.compact();
        assert!(store.since("pods", first).is_none());
        assert_eq!(store.since("pods", store.revision).map(|changes| changes.len()), Some(0));
        assert_eq!(store.objects("pods").count(), 1);
    }
}
