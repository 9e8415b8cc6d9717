//! How much memory the objects take that the engine was told, by key: beyond the bounds an object is told in part or not at
//! all, so that nobody who may create objects can exhaust the agent.

use std::collections::BTreeMap;

use crate::source::kubernetes::kind::Kind;
use crate::source::kubernetes::weight::weight;

/// Of one kind. 10,000 Services take about 12 MiB, and while a list is under way there are two of each.
pub const MOST_BYTES: usize = 16 << 20;

/// What the engine has of one kind.
pub struct Kept<K: Kind> {
    weights: BTreeMap<K::Key, usize>,
    total: usize,
    /// The lightest of those that are not told whole.
    lightest_cut: Option<usize>,
}

impl<K: Kind> Default for Kept<K> {
    fn default() -> Self {
        Self { weights: BTreeMap::new(), total: 0, lightest_cut: None }
    }
}

impl<K: Kind> Kept<K> {
    /// Takes an object in, in the place of what was known under its key; gives what may be told of it. The second is true
    /// if that is not all of it.
    pub fn admit(&mut self, key: &K::Key, item: K::Item) -> (Option<K::Item>, bool) {
        self.forget(key);
        let has_place = self.weights.len() < K::MOST;
        let weighs = |item: &K::Item| weight(item) + weight(key);
        let whole = weighs(&item);
        let is_whole = has_place && self.total.saturating_add(whole) <= MOST_BYTES;
        if !is_whole {
            self.lightest_cut = Some(self.lightest_cut.map_or(whole, |lightest| lightest.min(whole)));
        }
        let told = if is_whole { Some(item) } else { K::in_part(item).filter(|_| has_place) };
        if let Some(told) = &told {
            let weighs = weighs(told);
            self.total = self.total.saturating_add(weighs);
            self.weights.insert(key.clone(), weighs);
        }
        (told, !is_whole)
    }

    pub fn forget(&mut self, key: &K::Key) {
        self.total = self.total.saturating_sub(self.weights.remove(key).unwrap_or_default());
    }

    /// Why the engine does not know all of it, if so.
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

    /// True if a new list would show more than is known.
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
            ingress: vec![IngressRule { ports: vec![port; ports], peers: 0 }],
        };
        (("shop".to_owned(), name.to_owned()), policy)
    }

    #[test]
    fn what_is_beyond_the_bounds_is_told_in_part_and_never_isolates_for_certain() {
        let mut kept = Kept::<NetworkPolicies>::default();
        let a_third = MOST_BYTES / 3 / size_of::<AdmittedPort>();
        for name in ["a", "b"] {
            let (key, whole) = policy(name, a_third);
            assert_eq!(kept.admit(&key, whole.clone()), (Some(whole), false));
        }
        assert_eq!(kept.shortage(), None);
        let (key, whole) = policy("c", a_third);
        let (Some(told), true) = kept.admit(&key, whole.clone()) else { panic!("told in part") };
        assert_eq!((told.name.as_str(), told.ingress.len()), ("c", 0));
        assert_eq!(told.selects(&BTreeMap::new()), Selects::Maybe);
        assert!(kept.shortage().is_some_and(|reason| reason.contains("16 MiB")) && !kept.has_room_again());
        // The same key again takes no second place, and what is small still fits.
        for _ in 0..100 {
            assert!(!kept.admit(&policy("a", a_third).0, policy("a", a_third).1).1);
        }
        let (small, whole_small) = policy("d", 1);
        assert!(!kept.admit(&small, whole_small).1);
        kept.forget(&policy("a", 0).0);
        assert!(kept.has_room_again() && !kept.admit(&key, whole).1);
    }

    #[test]
    fn weights_come_back_to_nothing() {
        let mut kept = Kept::<NetworkPolicies>::default();
        for step in 0..1_000 {
            let (key, policy) = policy(&format!("p{}", step % 10), step);
            kept.admit(&key, policy);
        }
        for step in 0..10 {
            kept.forget(&policy(&format!("p{step}"), 0).0);
        }
        assert_eq!((kept.total, kept.weights.len()), (0, 0));
    }
}
