//! Counts the ports with findings of one pod, or of one netns without a pod. Above a cap, one finding replaces the findings
//! of the ports; critical findings stay visible, up to the cap. A pod's ports below medium severity are counted apart, with
//! a higher cap: many of them are no storm, but need a bound as well.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::finding_code::{FindingCode, Severity};
use crate::model::identity::{NetnsId, PodKey, PortId};
use crate::state::agenda::Agenda;

/// Cap of the ports below medium severity, as a multiple of the cap of a storm.
const QUIET_FACTOR: usize = 16;

/// Ports that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StormScope {
    /// Those of a pod with findings of medium severity or worse.
    Pod(PodKey),
    /// Those of a pod with other findings.
    QuietPod(PodKey),
    /// Those of a netns without a pod.
    Netns(NetnsId),
}

impl StormScope {
    /// Returns the scope that counts a port with this finding.
    #[must_use]
    pub(crate) fn of(pod: Option<PodKey>, netns: NetnsId, code: FindingCode) -> Self {
        match pod {
            None => Self::Netns(netns),
            Some(pod) if code.severity() >= Severity::Medium => Self::Pod(pod),
            Some(pod) => Self::QuietPod(pod),
        }
    }

    /// Returns every scope that may count a port.
    pub(crate) fn all_of(pod: Option<PodKey>, netns: NetnsId) -> impl Iterator<Item = Self> {
        let of_pod = pod.into_iter().flat_map(|pod| [Self::Pod(pod), Self::QuietPod(pod)]);
        of_pod.chain(pod.is_none().then_some(Self::Netns(netns)))
    }

    /// Returns the number of ports above which one finding replaces theirs. `cap`: that of a storm.
    #[must_use]
    pub(crate) const fn cap(self, cap: usize) -> usize {
        match self {
            Self::Pod(_) | Self::Netns(_) => cap,
            Self::QuietPod(_) => cap.saturating_mul(QUIET_FACTOR),
        }
    }
}

/// The ports of one scope that make findings.
#[derive(Debug, Default)]
pub(crate) struct StormState {
    /// All ports with a finding, past the grace time.
    ports: BTreeMap<PortId, FindingCode>,
    /// Ports with a critical finding.
    critical: BTreeSet<PortId>,
    /// Number of ports by code.
    codes: BTreeMap<FindingCode, usize>,
    /// True during a storm.
    is_active: bool,
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
    /// The worst code among the ports is another one.
    Recoded,
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
        let worst = self.worst();
        let before = match code {
            Some(code) => self.ports.insert(id, code),
            None => self.ports.remove(&id),
        };
        if before == code {
            return None;
        }
        self.count_codes(before, code);
        let count = self.ports.len();
        let is_active = if self.is_active { count > cap - cap / 4 } else { count > cap };
        let change = match (self.is_active, is_active) {
            (false, true) => StormChange::Began,
            (true, false) => StormChange::Ended,
            (true, true) if count >= self.reported_count.saturating_mul(2) => StormChange::Grew,
            (true, true) if worst != self.worst() => StormChange::Recoded,
            _ => return None,
        };
        if change != StormChange::Recoded {
            self.reported_count = count;
        }
        if self.is_active != is_active {
            self.is_active = is_active;
            agenda.judge_all(self.ports.keys().copied().filter(|other| *other != id));
        }
        Some(change)
    }

    fn count_codes(&mut self, before: Option<FindingCode>, now: Option<FindingCode>) {
        if let Some(before) = before
            && let Some(count) = self.codes.get_mut(&before)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.codes.remove(&before);
            }
        }
        if let Some(now) = now {
            let count = self.codes.entry(now).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Returns the worst code among the ports.
    #[must_use]
    pub(crate) fn worst(&self) -> Option<FindingCode> {
        let codes = self.codes.keys().copied();
        codes.max_by_key(|code| (code.severity(), std::cmp::Reverse(*code)))
    }

    /// Returns true during a storm.
    #[must_use]
    pub(crate) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// Returns true if the port is counted.
    #[must_use]
    pub(crate) fn contains(&self, id: PortId) -> bool {
        self.ports.contains_key(&id)
    }

    /// Returns the counted ports.
    pub(crate) fn ports(&self) -> impl ExactSizeIterator<Item = PortId> {
        self.ports.keys().copied()
    }

    /// Returns true if the storm's finding replaces this port's.
    #[must_use]
    pub(crate) fn hides(&self, id: PortId, cap: usize) -> bool {
        self.is_active && !self.critical.iter().take(cap).any(|critical| *critical == id)
    }
}
