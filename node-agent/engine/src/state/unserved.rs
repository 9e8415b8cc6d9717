//! Ports of one pod that are expected but not served, and since when.

use std::collections::BTreeMap;

use crate::model::identity::{BootTime, ProtocolPort};

/// Expected ports that nothing serves, and since when; the lowest ones if there are too many.
#[derive(Debug, Default)]
pub(crate) struct UnservedPorts {
    since: BTreeMap<ProtocolPort, BootTime>,
    /// Number of ports that were left out since all were last checked.
    pub beyond: usize,
}

impl UnservedPorts {
    /// Returns since when the port is unserved.
    #[must_use]
    pub(crate) fn since(&self, at: ProtocolPort) -> Option<BootTime> {
        self.since.get(&at).copied()
    }

    /// Adds a port. Returns the port that did not fit, which may be the same.
    pub(crate) fn begin(&mut self, at: ProtocolPort, now: BootTime, cap: usize) -> Option<ProtocolPort> {
        self.since.entry(at).or_insert(now);
        if self.since.len() <= cap {
            return None;
        }
        self.beyond = self.beyond.saturating_add(1);
        self.since.pop_last().map(|(last, _)| last)
    }

    /// Removes a port. Returns true if it was unserved until now.
    pub(crate) fn end(&mut self, at: ProtocolPort) -> bool {
        self.since.remove(&at).is_some()
    }

    /// Returns the unserved ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = ProtocolPort> {
        self.since.keys().copied()
    }
}
