//! The objects of one source that cannot be understood: by name, so that status can say which, and since a fault ends when its
//! object is corrected or deleted.

use std::collections::{BTreeMap, BTreeSet};

/// Loss reason: an object was left out, because it cannot be understood.
pub const INVALID: &str = "kubernetes-object-invalid";
/// Loss reason: parts of objects were left out, because they exceed a limit.
pub const OVER_LIMIT: &str = "kubernetes-object-over-limit";
/// Maximum number of objects whose faults are remembered.
const MAX_NAMED: usize = 64;
/// Maximum number of further objects that are remembered by identity alone.
const MAX_FURTHER: usize = 4096;

/// The objects that cannot be understood now, by identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultyObjects<Key> {
    named: BTreeMap<Key, String>,
    further: BTreeSet<Key>,
}

impl<Key> Default for FaultyObjects<Key> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), further: BTreeSet::new() }
    }
}

impl<Key: Ord + Clone> FaultyObjects<Key> {
    /// Remembers the fault of an object, in one line that names both.
    pub fn add(&mut self, key: Key, fault: String) {
        if !self.is_full() || self.named.contains_key(&key) {
            self.named.insert(key, fault);
        } else if self.further.len() < MAX_FURTHER {
            self.further.insert(key);
        }
    }

    /// True if the fault of a further object is not remembered any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.named.len() >= MAX_NAMED
    }

    /// Forgets an object that is understood now, or deleted. True if it was remembered.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.further.remove(key) || self.named.remove(key).is_some()
    }

    /// True if this fault of the object is remembered, or that the object has one.
    #[must_use]
    pub fn has(&self, key: &Key, fault: &str) -> bool {
        self.further.contains(key) || self.named.get(key).is_some_and(|known| known == fault)
    }

    /// Returns one line that counts the objects and names the first; `None` without objects.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let first = self.named.first_key_value().map(|(_, fault)| fault);
        // An exact number would change, and be said, with each of them.
        let count = match (self.named.len(), self.further.len()) {
            (0, 0) => return None,
            (1, 0) => "1 object".to_owned(),
            (count, 0) => format!("{count} objects"),
            (0, _) => "some objects".to_owned(),
            (count, _) => format!("more than {count} objects"),
        };
        let first = first.map(|fault| format!(", the first: {fault}"));
        Some(format!("{count} cannot be understood{}", first.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_cap_objects_are_known_by_identity_and_the_summary_stays_the_same() {
        let mut faulty = FaultyObjects::default();
        assert_eq!(faulty.summary(), None);
        for key in 0..MAX_NAMED {
            assert!(!faulty.is_full());
            faulty.add(key, format!("fault of {key}"));
        }
        assert_eq!(faulty.summary().expect("64"), "64 objects cannot be understood, the first: fault of 0");
        faulty.add(MAX_NAMED, "another".to_owned());
        let more = faulty.summary();
        assert_eq!(more.as_deref(), Some("more than 64 objects cannot be understood, the first: fault of 0"));
        assert!(faulty.is_full() && faulty.has(&MAX_NAMED, "whatever it is now"));
        faulty.add(MAX_NAMED, "again".to_owned());
        faulty.add(MAX_NAMED + 1, "one more".to_owned());
        assert_eq!(faulty.summary(), more, "one reason for all of them");
        (0..MAX_NAMED).for_each(|key| assert!(faulty.remove(&key)));
        assert_eq!(faulty.summary().as_deref(), Some("some objects cannot be understood"));
        assert!(faulty.remove(&MAX_NAMED) && faulty.remove(&(MAX_NAMED + 1)) && !faulty.remove(&MAX_NAMED));
        assert_eq!(faulty.summary(), None);
    }
}
