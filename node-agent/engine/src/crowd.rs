//! The ports of one pod, or of one netns without a pod, that make a finding each; and when there are so many that one
//! finding stands for all. What is critical stands apart: a crowd must not hide the worst.

use std::collections::BTreeSet;

use super::finding_code::{FindingCode, Severity};
use super::identity::{NetnsId, PortId};
use super::pod_index::PodKey;

/// Whose ports are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrowdOf {
    Pod(PodKey),
    /// What belongs to no known pod.
    Netns(NetnsId),
}

/// Ports that make findings.
#[derive(Debug, Default)]
pub struct Crowd {
    /// All of them, past the grace time.
    pub ports: BTreeSet<PortId>,
    critical: BTreeSet<PortId>,
    pub storm: bool,
    /// How many there were when the storm was told last.
    told: usize,
}

/// What happened to the storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Began,
    /// It doubled since it was told last.
    Grew,
    Ended,
}

impl Crowd {
    /// Takes a port in, or out if it makes no finding. Says what that did to the storm, which begins above the cap and ends
    /// well below, and adds to `again` the ports that are to be judged again.
    pub fn enrol(
        &mut self,
        id: PortId,
        code: Option<FindingCode>,
        cap: usize,
        again: &mut BTreeSet<PortId>,
    ) -> Option<Turn> {
        if code.is_some_and(|code| code.severity() == Severity::Critical) {
            if self.critical.insert(id) && self.storm {
                again.extend(self.critical.iter().nth(cap));
            }
        } else if self.critical.remove(&id) && self.storm {
            again.extend(cap.checked_sub(1).and_then(|last| self.critical.iter().nth(last)));
        }
        let changed = if code.is_some() { self.ports.insert(id) } else { self.ports.remove(&id) };
        if !changed {
            return None;
        }
        let count = self.ports.len();
        let storm = if self.storm { count > cap - cap / 4 } else { count > cap };
        let turn = match (self.storm, storm) {
            (false, true) => Turn::Began,
            (true, false) => Turn::Ended,
            (true, true) if count >= self.told.saturating_mul(2) => Turn::Grew,
            _ => return None,
        };
        self.told = count;
        if turn != Turn::Grew {
            self.storm = storm;
            again.extend(self.ports.iter().copied().filter(|other| *other != id));
        }
        Some(turn)
    }

    /// The storm's finding stands for this port's.
    #[must_use]
    pub fn hides(&self, id: PortId, cap: usize) -> bool {
        self.storm && !self.critical.iter().take(cap).any(|critical| *critical == id)
    }
}
