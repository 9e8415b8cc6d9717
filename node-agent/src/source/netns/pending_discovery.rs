//! Netns that the kernel reported and that no walk has found yet. A netns that no walk finds ended before it was discovered.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::identity::NetnsId;

/// Maximum number of netns that wait for discovery.
pub(super) const MAX_PENDING: usize = 65_536;
/// Number of inconclusive walks after which a netns counts as gone. A walk can miss a netns because the process that held
/// the netns ended meanwhile.
const INCONCLUSIVE_WALKS: u8 = 3;

/// A netns that waits for discovery.
#[derive(Debug)]
struct Pending {
    /// Number of inconclusive walks that missed it.
    walks: u8,
    /// A process that has a socket there.
    pid: Option<u32>,
}

/// The netns that wait for discovery.
#[derive(Debug, Default)]
pub(super) struct PendingDiscovery(BTreeMap<NetnsId, Pending>);

impl PendingDiscovery {
    /// Adds netns, up to [`MAX_PENDING`] in all.
    pub fn add(&mut self, netns: &BTreeMap<NetnsId, Option<u32>>) {
        let room = MAX_PENDING.saturating_sub(self.0.len());
        let pending = |(netns, pid): (&NetnsId, &Option<u32>)| (*netns, Pending { walks: 0, pid: *pid });
        self.0.extend(netns.iter().take(room).map(pending));
    }

    /// Returns the processes that have sockets in pending netns.
    #[must_use]
    pub fn pids(&self) -> BTreeSet<u32> {
        self.0.values().filter_map(|pending| pending.pid).collect()
    }

    #[must_use]
    pub fn contains(&self, netns: NetnsId) -> bool {
        self.0.contains_key(&netns)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the netns that are known now.
    pub fn remove_known(&mut self, known: &BTreeSet<NetnsId>) {
        self.0.retain(|netns, _| !known.contains(netns));
    }

    /// Counts a complete walk that did not find the remaining netns. Removes and returns those that are gone: all of them
    /// after a conclusive walk, else those that [`INCONCLUSIVE_WALKS`] walks have missed.
    pub fn take_missed(&mut self, is_conclusive: bool) -> Vec<NetnsId> {
        let is_gone = |pending: &mut Pending| {
            pending.walks += 1;
            is_conclusive || pending.walks >= INCONCLUSIVE_WALKS
        };
        self.0.extract_if(.., |_, pending| is_gone(pending)).map(|(netns, _)| netns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_found_is_gone_at_once_or_after_some_inconclusive_walks() {
        let (one, two) = (NetnsId(1), NetnsId(2));
        let mut pending = PendingDiscovery::default();
        pending.add(&[(one, Some(7)), (two, None)].into());
        assert!(pending.pids() == [7].into() && pending.contains(two));
        pending.remove_known(&[one].into());
        assert_eq!(pending.take_missed(false), []);
        assert_eq!(pending.take_missed(true), [two]);
        assert!(pending.is_empty());
        pending.add(&[(one, None)].into());
        let missed: Vec<_> = (0..INCONCLUSIVE_WALKS).map(|_| pending.take_missed(false)).collect();
        assert_eq!(missed, [vec![], vec![], vec![one]]);
    }
}
