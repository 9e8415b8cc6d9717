//! The objects of one source that cannot be understood: by name, so that status can say which, and since a fault ends when its
//! object is corrected or deleted.

use std::collections::BTreeMap;

/// Loss reason: an object was left out, because it cannot be understood.
pub const INVALID: &str = "kubernetes-object-invalid";
/// Loss reason: parts of objects were left out, because they exceed a limit.
pub const OVER_LIMIT: &str = "kubernetes-object-over-limit";
/// Maximum number of objects that are remembered by name.
const MAX_NAMED: usize = 64;

/// The objects that cannot be understood now, by identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultyObjects<Key> {
    named: BTreeMap<Key, String>,
    /// Number of faults of objects beyond [`MAX_NAMED`]; kept until all objects are listed again.
    beyond: usize,
}

impl<Key> Default for FaultyObjects<Key> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), beyond: 0 }
    }
}

impl<Key: Ord> FaultyObjects<Key> {
    /// Remembers the fault of an object, in one line that names both.
    pub fn add(&mut self, key: Key, fault: String) {
        if self.named.len() >= MAX_NAMED && !self.named.contains_key(&key) {
            self.beyond = self.beyond.saturating_add(1);
        } else {
            self.named.insert(key, fault);
        }
    }

    /// Forgets an object that is understood now, or deleted. True if it was remembered.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.named.remove(key).is_some()
    }

    /// True if this fault of the object is remembered.
    #[must_use]
    pub fn has(&self, key: &Key, fault: &str) -> bool {
        self.named.get(key).is_some_and(|known| known == fault)
    }

    /// Returns one line that counts the objects and names the first; `None` without objects.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let (_, first) = self.named.first_key_value()?;
        Some(match self.named.len().saturating_add(self.beyond) {
            1 => format!("1 object cannot be understood: {first}"),
            count => format!("{count} objects cannot be understood, the first: {first}"),
        })
    }
}
