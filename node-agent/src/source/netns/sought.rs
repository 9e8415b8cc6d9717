//! Netns of which only the kernel told: one that no walk finds has ended before anybody saw it.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::identity::NetnsId;

use super::MAX_SOUGHT;

/// So many walks may miss a netns because what held it ended meanwhile.
const UNSURE_WALKS: u8 = 3;

/// With the walks that may have missed them.
#[derive(Debug, Default)]
pub struct Sought(BTreeMap<NetnsId, u8>);

impl Sought {
    pub fn add(&mut self, netns: &BTreeSet<NetnsId>) {
        let room = MAX_SOUGHT.saturating_sub(self.0.len());
        self.0.extend(netns.iter().take(room).map(|netns| (*netns, 0)));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These were found.
    pub fn found(&mut self, known: &BTreeSet<NetnsId>) {
        self.0.retain(|netns, _| !known.contains(netns));
    }

    /// A whole walk missed those that are left: they are gone, unless the walk is unsure of itself.
    pub fn missed(&mut self, is_unsure: bool) -> Vec<NetnsId> {
        let is_gone = |walks: &mut u8| {
            *walks += 1;
            !is_unsure || *walks >= UNSURE_WALKS
        };
        self.0.extract_if(.., |_, walks| is_gone(walks)).map(|(netns, _)| netns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_found_is_gone_at_once_or_after_some_unsure_walks() {
        let (one, two) = (NetnsId(1), NetnsId(2));
        let mut sought = Sought::default();
        sought.add(&[one, two].into());
        sought.found(&[one].into());
        assert_eq!(sought.missed(true), []);
        assert_eq!(sought.missed(false), [two]);
        assert!(sought.is_empty());
        sought.add(&[one].into());
        let missed: Vec<_> = (0..UNSURE_WALKS).map(|_| sought.missed(true)).collect();
        assert_eq!(missed, [vec![], vec![], vec![one]]);
    }
}
