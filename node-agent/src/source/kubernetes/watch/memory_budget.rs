//! Bounds the number and the memory of the objects that the engine knows. Beyond the bounds an object is reduced or left
//! out, so that nobody who may create objects can exhaust the agent.

use std::collections::BTreeMap;

use crate::source::kubernetes::kind::Kind;
use crate::source::kubernetes::weight::weight;

/// Maximum memory of the objects of one kind. 10,000 Services take about 12 MiB. During a list the old and the new objects
/// exist at once.
pub const MOST_BYTES: usize = 16 << 20;

/// Memory of the objects of one kind that the engine knows.
pub struct MemoryBudget<K: Kind> {
    weights: BTreeMap<K::Key, usize>,
    total: usize,
    /// Weight of the lightest object that did not fit.
    lightest_cut: Option<usize>,
}

impl<K: Kind> Default for MemoryBudget<K> {
    fn default() -> Self {
        Self { weights: BTreeMap::new(), total: 0, lightest_cut: None }
    }
}

impl<K: Kind> MemoryBudget<K> {
    /// Admits an object, replacing its previous version. Returns the part that fits the memory budget, and whether it was
    /// truncated.
    pub fn admit(&mut self, key: &K::Key, item: K::Item) -> (Option<K::Item>, bool) {
        self.forget(key);
        let has_slot = self.weights.len() < K::MOST;
        let weighs = |item: &K::Item| weight(item) + weight(key);
        let whole = weighs(&item);
        let is_whole = has_slot && self.total.saturating_add(whole) <= MOST_BYTES;
        if !is_whole {
            self.lightest_cut = Some(self.lightest_cut.map_or(whole, |lightest| lightest.min(whole)));
        }
        let admitted = if is_whole { Some(item) } else { K::in_part(item).filter(|_| has_slot) };
        if let Some(admitted) = &admitted {
            let weighs = weighs(admitted);
            self.total = self.total.saturating_add(weighs);
            self.weights.insert(key.clone(), weighs);
        }
        (admitted, !is_whole)
    }

    /// Releases the memory of a deleted object.
    pub fn forget(&mut self, key: &K::Key) {
        self.total = self.total.saturating_sub(self.weights.remove(key).unwrap_or_default());
    }

    /// Returns why the engine does not know every object in full, if that is so.
    #[must_use]
    pub fn shortage(&self) -> Option<String> {
        self.lightest_cut.is_some().then(|| {
            format!(
                "the API server has more than is kept, {} objects and {} MiB: what is beyond is told in part or not at all",
                K::MOST,
                MOST_BYTES >> 20
            )
        })
    }

    /// True if a new list would fit more objects than the engine knows.
    #[must_use]
    pub fn has_room_again(&self) -> bool {
        self.lightest_cut.is_some_and(|lightest| self.total.saturating_add(lightest) <= MOST_BYTES)
            && self.weights.len() < K::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::policies::NetworkPolicies;
    use portolan_engine::model::network_policy::{AdmittedPort, IngressRule, LabelSelector, NetworkPolicy};
    use portolan_engine::model::selector::{Selector, Selects};

    type Key = (String, String);

    fn policy(name: &str, ports: usize) -> (Key, NetworkPolicy) {
        let port = AdmittedPort {
            protocol: portolan_engine::model::identity::Protocol::Tcp,
            port: None,
            end_port: None,
        };
        let policy = NetworkPolicy {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            selector: LabelSelector::default(),
            ingress: vec![IngressRule { ports: vec![port; ports], peers: Vec::new() }],
        };
        (("shop".to_owned(), name.to_owned()), policy)
    }

    #[test]
    fn what_is_beyond_the_bounds_is_told_in_part_and_never_isolates_for_certain() {
        let mut budget = MemoryBudget::<NetworkPolicies>::default();
        let a_third = MOST_BYTES / 3 / size_of::<AdmittedPort>();
        for name in ["a", "b"] {
            let (key, whole) = policy(name, a_third);
            assert_eq!(budget.admit(&key, whole.clone()), (Some(whole), false));
        }
        assert_eq!(budget.shortage(), None);
        let (key, whole) = policy("c", a_third);
        let (Some(reduced), true) = budget.admit(&key, whole.clone()) else { panic!("reduced") };
        assert_eq!((reduced.name.as_str(), reduced.ingress.len()), ("c", 0));
        assert_eq!(reduced.selects(&BTreeMap::new()), Selects::Maybe);
        assert!(
            budget.shortage().is_some_and(|reason| reason.contains("16 MiB")) && !budget.has_room_again()
        );
        // The same key again takes no second place, and what is small still fits.
        for _ in 0..100 {
            assert!(!budget.admit(&policy("a", a_third).0, policy("a", a_third).1).1);
        }
        let (small, whole_small) = policy("d", 1);
        assert!(!budget.admit(&small, whole_small).1);
        budget.forget(&policy("a", 0).0);
        assert!(budget.has_room_again() && !budget.admit(&key, whole).1);
    }

    #[test]
    fn weights_come_back_to_nothing() {
        let mut budget = MemoryBudget::<NetworkPolicies>::default();
        for step in 0..1_000 {
            let (key, policy) = policy(&format!("p{}", step % 10), step);
            budget.admit(&key, policy);
        }
        for step in 0..10 {
            budget.forget(&policy(&format!("p{step}"), 0).0);
        }
        assert_eq!((budget.total, budget.weights.len()), (0, 0));
    }
}
