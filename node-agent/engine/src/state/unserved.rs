//! What is expected of one pod and not served, and since when.

use std::collections::BTreeMap;

use crate::model::identity::{BootTime, ProtocolPort};
use crate::rules::expectations::MissingName;

/// Why what a Service sends to a port is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing listens.
    Nobody,
    /// What listens can be reached over loopback only.
    Loopback,
    /// What listens takes no calls to the pod's address in the family in which they come.
    Elsewhere,
}

/// What is wrong with an expected port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// True if the port is declared and nothing listens.
    pub stale: bool,
    /// Why what Services send to the port is refused.
    pub dangling: Option<Refusal>,
}

impl Shortfall {
    /// True if nothing is wrong.
    #[must_use]
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Since when something is wrong with an expected port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unserved {
    /// Since when the port is declared and nothing listens.
    pub stale_since: Option<BootTime>,
    /// Since when what Services send to the port is refused, and why.
    pub dangling_since: Option<(BootTime, Refusal)>,
}

/// Result of [`UnservedPorts::update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Updated {
    /// True if the port was all right until now.
    pub is_new: bool,
    /// True if calls are refused for another reason than until now.
    pub has_other_reason: bool,
    /// The port that did not fit, which may be the same.
    pub left_out: Option<ProtocolPort>,
}

/// Expected ports with a shortfall, and since when; the lowest ones if there are too many. Beside them, the names that
/// Services send to and no container declares.
#[derive(Debug, Default)]
pub(crate) struct UnservedPorts {
    ports: BTreeMap<ProtocolPort, Unserved>,
    names: BTreeMap<u64, (BootTime, MissingName)>,
    /// Number of ports that were left out since all were last checked.
    pub beyond: usize,
}

impl UnservedPorts {
    /// Returns since when something is wrong with the port.
    #[must_use]
    pub(crate) fn get(&self, at: ProtocolPort) -> Option<Unserved> {
        self.ports.get(&at).copied()
    }

    /// Adds a port, or changes what is wrong with it.
    pub(crate) fn update(
        &mut self,
        at: ProtocolPort,
        shortfall: Shortfall,
        now: BootTime,
        cap: usize,
    ) -> Updated {
        let before = self.ports.get(&at).copied();
        let known = before.unwrap_or_default();
        let refused_since = known.dangling_since.map_or(now, |(since, _)| since);
        let next = Unserved {
            stale_since: shortfall.stale.then(|| known.stale_since.unwrap_or(now)),
            dangling_since: shortfall.dangling.map(|reason| (refused_since, reason)),
        };
        self.ports.insert(at, next);
        let reason = |unserved: Unserved| unserved.dangling_since.map(|(_, reason)| reason);
        // A process that restarts is gone for a moment, which is no news.
        let has_other_reason = reason(next).is_some_and(|reason| reason != Refusal::Nobody)
            && before.is_some_and(|before| reason(before) != reason(next));
        let mut updated = Updated { is_new: before.is_none(), has_other_reason, left_out: None };
        if self.ports.len() > cap {
            self.beyond = self.beyond.saturating_add(1);
            updated.left_out = self.ports.pop_last().map(|(last, _)| last);
        }
        updated
    }

    /// Removes a port. Returns true if something was wrong with it until now.
    pub(crate) fn end(&mut self, at: ProtocolPort) -> bool {
        self.ports.remove(&at).is_some()
    }

    /// Returns the ports with a shortfall.
    pub(crate) fn ports(&self) -> impl Iterator<Item = ProtocolPort> {
        self.ports.keys().copied()
    }

    /// Notes that no container declares the name. Returns since when, and true if what is known of it changed.
    pub(crate) fn begin_name(&mut self, target: u64, name: MissingName, now: BootTime) -> (BootTime, bool) {
        let known = self.names.get(&target);
        let since = known.map_or(now, |(since, _)| *since);
        let is_other = known.is_some_and(|(_, known)| *known != name);
        self.names.insert(target, (since, name));
        (since, is_other)
    }

    /// Returns a name that no container declares.
    #[must_use]
    pub(crate) fn name(&self, target: u64) -> Option<&MissingName> {
        self.names.get(&target).map(|(_, name)| name)
    }

    /// Forgets a name.
    pub(crate) fn end_name(&mut self, target: u64) {
        self.names.remove(&target);
    }

    /// Returns the names that no container declares.
    pub(crate) fn names(&self) -> impl Iterator<Item = u64> {
        self.names.keys().copied()
    }
}
