//! Totals that only grow, for metrics and status.

use std::collections::BTreeMap;

use crate::model::listener::DeclarationStatus;
use crate::model::traffic::Origin;

/// Totals since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `None`: the kernel had forgotten the peer.
    pub connections: BTreeMap<(DeclarationStatus, Option<Origin>), u64>,
    /// Listeners that were reported without a pod.
    pub unattributed: u64,
    /// Listeners that ended within the grace time.
    pub short_lived: u64,
    /// Ports that were looked at, because something about them may have changed or was due.
    pub judged: u64,
    pub lost: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub(crate) fn count_connections(&mut self, status: DeclarationStatus, all: u64, known: &[(Origin, u64)]) {
        let mut rest = all;
        for (origin, count) in known {
            let total = self.connections.entry((status, Some(*origin))).or_default();
            *total = total.saturating_add(*count);
            rest = rest.saturating_sub(*count);
        }
        if rest > 0 {
            let total = self.connections.entry((status, None)).or_default();
            *total = total.saturating_add(rest);
        }
    }

    pub(crate) fn lose(&mut self, reason: &'static str, count: u64) {
        let total = self.lost.entry(reason).or_default();
        *total = total.saturating_add(count);
    }
}
