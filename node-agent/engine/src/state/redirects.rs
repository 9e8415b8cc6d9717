//! Ports that rules of their netns redirect to other ports, and what serves those.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::identity::PortId;

/// What serves the target of a redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TargetState {
    /// No socket that is known.
    #[default]
    Unserved,
    /// A socket.
    Served,
    /// The proxy of a service mesh, which accepts connections to every port.
    Mesh,
}

/// One target of redirections.
#[derive(Debug, Default)]
struct Target {
    from: BTreeSet<PortId>,
    state: TargetState,
}

/// Redirected ports by their target. Bounded by the port table.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    targets: BTreeMap<PortId, Target>,
}

impl Redirects {
    /// Adds a redirected port. True if the state of its target is not known yet.
    pub(crate) fn add(&mut self, from: PortId, to: PortId) -> bool {
        let is_new = !self.is_target(to);
        self.targets.entry(to).or_default().from.insert(from);
        is_new
    }

    /// Forgets a redirected port.
    pub(crate) fn remove(&mut self, from: PortId, to: PortId) {
        if let Some(target) = self.targets.get_mut(&to) {
            target.from.remove(&from);
            if target.from.is_empty() {
                self.targets.remove(&to);
            }
        }
    }

    /// True if another port is redirected to this one.
    #[must_use]
    pub(crate) fn is_target(&self, id: PortId) -> bool {
        self.targets.contains_key(&id)
    }

    /// What serves a target.
    #[must_use]
    pub(crate) fn state(&self, to: PortId) -> TargetState {
        self.targets.get(&to).map(|target| target.state).unwrap_or_default()
    }

    /// Updates what serves a target. Returns the ports that are redirected to it, if that is another state.
    pub(crate) fn update(&mut self, to: PortId, state: TargetState) -> impl Iterator<Item = PortId> + '_ {
        let target = self.targets.get_mut(&to).filter(|target| target.state != state);
        let from = target.map(|target| {
            target.state = state;
            &target.from
        });
        from.into_iter().flatten().copied()
    }
}
