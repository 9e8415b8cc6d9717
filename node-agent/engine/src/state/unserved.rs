//! Ports of one pod that are expected but not served, and since when.

use std::collections::BTreeMap;

use crate::model::identity::{BootTime, ProtocolPort};

/// Ports that ought to be served and are not, and since when; the lowest ones where there are too many.
#[derive(Debug, Default)]
pub struct UnservedPorts {
    since: BTreeMap<ProtocolPort, BootTime>,
    /// How many were left out since they were all looked at last.
    pub beyond: usize,
}

impl UnservedPorts {
    #[must_use]
    pub fn since(&self, at: ProtocolPort) -> Option<BootTime> {
        self.since.get(&at).copied()
    }

    /// Takes a port in; returns the one for which there is no room, which may be the same.
    pub fn begin(&mut self, at: ProtocolPort, now: BootTime, cap: usize) -> Option<ProtocolPort> {
        self.since.entry(at).or_insert(now);
        if self.since.len() <= cap {
            return None;
        }
        self.beyond = self.beyond.saturating_add(1);
        self.since.pop_last().map(|(last, _)| last)
    }

    /// True if it was silent until now.
    pub fn end(&mut self, at: ProtocolPort) -> bool {
        self.since.remove(&at).is_some()
    }

    pub fn ports(&self) -> impl Iterator<Item = ProtocolPort> {
        self.since.keys().copied()
    }
}
