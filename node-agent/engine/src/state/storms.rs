//! Ports of one pod, or of one netns without a pod, that make a finding each, and whether one storm finding replaces
//! them. Critical findings stay visible during a storm, up to the cap.

use std::collections::BTreeSet;

use crate::model::finding_code::{FindingCode, Severity};
use crate::model::identity::{NetnsId, PodKey, PortId};

/// Whose ports are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StormScope {
    Pod(PodKey),
    /// What belongs to no known pod.
    Netns(NetnsId),
}

/// Ports that make findings.
#[derive(Debug, Default)]
pub struct StormState {
    /// All of them, past the grace time.
    pub ports: BTreeSet<PortId>,
    critical: BTreeSet<PortId>,
    pub is_active: bool,
    /// How many there were when the storm was told last.
    reported_count: usize,
}

/// What happened to the storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StormChange {
    Began,
    /// It doubled since it was told last.
    Grew,
    Ended,
}

impl StormState {
    /// Takes a port in, or out if it makes no finding. Says what that did to the storm, which begins above the cap and ends
    /// well below, and adds to `again` the ports that are to be judged again.
    pub fn update(
        &mut self,
        id: PortId,
        code: Option<FindingCode>,
        cap: usize,
        again: &mut BTreeSet<PortId>,
    ) -> Option<StormChange> {
        if code.is_some_and(|code| code.severity() == Severity::Critical) {
            if self.critical.insert(id) && self.is_active {
                again.extend(self.critical.iter().nth(cap));
            }
        } else if self.critical.remove(&id) && self.is_active {
            again.extend(cap.checked_sub(1).and_then(|last| self.critical.iter().nth(last)));
        }
        let changed = if code.is_some() { self.ports.insert(id) } else { self.ports.remove(&id) };
        if !changed {
            return None;
        }
        let count = self.ports.len();
        let is_active = if self.is_active { count > cap - cap / 4 } else { count > cap };
        let turn = match (self.is_active, is_active) {
            (false, true) => StormChange::Began,
            (true, false) => StormChange::Ended,
            (true, true) if count >= self.reported_count.saturating_mul(2) => StormChange::Grew,
            _ => return None,
        };
        self.reported_count = count;
        if turn != StormChange::Grew {
            self.is_active = is_active;
            again.extend(self.ports.iter().copied().filter(|other| *other != id));
        }
        Some(turn)
    }

    /// The storm's finding stands for this port's.
    #[must_use]
    pub fn hides(&self, id: PortId, cap: usize) -> bool {
        self.is_active && !self.critical.iter().take(cap).any(|critical| *critical == id)
    }
}
