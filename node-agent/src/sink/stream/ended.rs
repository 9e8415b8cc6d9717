//! Recently ended objects: the last closed listeners and resolved findings, for queries by id or state.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Maximum number of closed listeners. Each can take some kilobytes.
pub const CLOSED: usize = 256;
/// Maximum number of resolved findings, of which people ask what changed. Each takes 5 KB at most, without peers that no report
/// shows.
pub const RESOLVED: usize = 1024;

/// The objects of one kind that ended last, by id.
#[derive(Debug)]
pub struct Ended<T> {
    most: usize,
    by_id: BTreeMap<String, (u64, Arc<T>)>,
    /// Numbers and ids, oldest first. A forgotten or ended-again object has no or another number in `by_id`.
    order: VecDeque<(u64, String)>,
    next: u64,
}

impl<T> Ended<T> {
    /// Creates an empty memory of at most so many objects.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, by_id: BTreeMap::new(), order: VecDeque::new(), next: 0 }
    }

    /// Adds an object that ended. Drops the oldest beyond the maximum.
    pub fn remember(&mut self, id: &str, item: Arc<T>) {
        self.by_id.insert(id.to_owned(), (self.next, item));
        self.order.push_back((self.next, id.to_owned()));
        self.next += 1;
        while self.order.len() > self.most {
            let Some((number, id)) = self.order.pop_front() else { return };
            if self.by_id.get(&id).is_some_and(|(kept, _)| *kept == number) {
                self.by_id.remove(&id);
            }
        }
    }

    /// Removes an object that is open again.
    pub fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Returns the object with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.by_id.get(id).map(|(_, item)| item)
    }

    /// Returns the objects after this id, in the order of ids.
    pub fn after<'a>(&'a self, id: Option<&str>) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range::<str, _>((from, Bound::Unbounded)).map(|(_, (_, item))| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEMBERED: usize = 256;

    #[test]
    fn the_last_are_kept_each_once_and_in_the_order_of_ids() {
        let mut ended = Ended::new(REMEMBERED);
        for n in 0..REMEMBERED * 2 {
            ended.remember("again", Arc::new(n));
            ended.remember(&format!("{n:04}"), Arc::new(n));
        }
        assert_eq!(ended.get("again").map(|n| **n), Some(REMEMBERED * 2 - 1));
        assert!(ended.get("0000").is_none());
        let kept: Vec<usize> = ended.after(Some("0509")).map(|n| **n).collect();
        assert_eq!(kept, [510, 511, 511]);
        assert!(ended.after(None).count() <= REMEMBERED);
        ended.forget("0511");
        assert!(ended.get("0511").is_none());
    }
}
