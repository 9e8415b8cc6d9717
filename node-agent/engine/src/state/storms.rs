//! Counts the ports with findings of one pod, or of one netns without a pod. Above a cap, one storm finding replaces the
//! findings of the ports; critical findings stay visible, up to the cap.

use std::collections::BTreeSet;

use crate::model::finding_code::{FindingCode, Severity};
use crate::model::identity::{NetnsId, PodKey, PortId};
use crate::state::agenda::Agenda;

/// The pod or netns whose ports are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StormScope {
    /// A pod.
    Pod(PodKey),
    /// A netns, for its ports without a pod.
    Netns(NetnsId),
}

/// The ports of one scope that make findings.
#[derive(Debug, Default)]
pub(crate) struct StormState {
    /// All ports with a finding, past the grace time.
    pub ports: BTreeSet<PortId>,
    /// Ports with a critical finding.
    critical: BTreeSet<PortId>,
    /// True during a storm.
    pub is_active: bool,
    /// Number of ports when the storm was last reported.
    reported_count: usize,
}

/// What happened to a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StormChange {
    /// The number of ports exceeded the cap.
    Began,
    /// The number of ports doubled since the last report.
    Grew,
    /// The number of ports fell to three quarters of the cap.
    Ended,
}

impl StormState {
    /// Counts a port, or stops counting it if it makes no finding. A storm begins above `cap` and ends at three quarters of
    /// it. Schedules the ports whose visibility changes to be judged again.
    pub(crate) fn update(
        &mut self,
        id: PortId,
        code: Option<FindingCode>,
        cap: usize,
        agenda: &mut Agenda,
    ) -> Option<StormChange> {
        if code.is_some_and(|code| code.severity() == Severity::Critical) {
            if self.critical.insert(id) && self.is_active {
                agenda.judge_all(self.critical.iter().nth(cap).copied());
            }
        } else if self.critical.remove(&id) && self.is_active {
            agenda.judge_all(cap.checked_sub(1).and_then(|last| self.critical.iter().nth(last).copied()));
        }
        let changed = if code.is_some() { self.ports.insert(id) } else { self.ports.remove(&id) };
        if !changed {
            return None;
        }
        let count = self.ports.len();
        let is_active = if self.is_active { count > cap - cap / 4 } else { count > cap };
        let change = match (self.is_active, is_active) {
            (false, true) => StormChange::Began,
            (true, false) => StormChange::Ended,
            (true, true) if count >= self.reported_count.saturating_mul(2) => StormChange::Grew,
            _ => return None,
        };
        self.reported_count = count;
        if change != StormChange::Grew {
            self.is_active = is_active;
            agenda.judge_all(self.ports.iter().copied().filter(|other| *other != id));
        }
        Some(change)
    }

    /// Returns true if the storm's finding replaces this port's.
    #[must_use]
    pub(crate) fn hides(&self, id: PortId, cap: usize) -> bool {
        self.is_active && !self.critical.iter().take(cap).any(|critical| *critical == id)
    }
}
