//! The open and suppressed findings: subject, assessment, and when each was last reported.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::model::finding::{FindingState, Suppression};
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, PodKey, PortId, Protocol};
use crate::model::policy::PolicyVerdict;
use crate::state::moment::Moment;
use crate::state::remembered::Remembered;
use crate::state::storms::{StormChange, StormScope};

/// Minimum interval between two reports of a finding that only has new peers.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Number of moments among which repetitions of findings are spread.
const SPREAD: u64 = 1024;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A served port.
    Port(PortId),
    /// A declared port of a pod that nothing serves.
    Stale(PodKey, Protocol, NonZeroU16),
    /// A port of a pod that refuses what a Service sends to it.
    Dangling(PodKey, Protocol, NonZeroU16),
    /// A named target of a Service, by its key, that no container of the pod declares.
    MissingName(PodKey, u64),
    /// The ports of a pod or netns.
    Storm(StormScope),
    /// A pod whose sockets this kernel does not see.
    Opaque(PodKey),
}

impl Subject {
    /// The pod that the finding is about, if it is not about a served port.
    #[must_use]
    pub(crate) const fn pod(self) -> Option<PodKey> {
        match self {
            Self::Stale(pod, ..)
            | Self::Dangling(pod, ..)
            | Self::MissingName(pod, _)
            | Self::Storm(StormScope::Pod(pod) | StormScope::QuietPod(pod))
            | Self::Opaque(pod) => Some(pod),
            Self::Port(_) | Self::Storm(StormScope::Netns(_)) => None,
        }
    }

    /// The served port that the finding is about, if it is about one.
    #[must_use]
    pub(crate) const fn port(self) -> Option<PortId> {
        match self {
            Self::Port(port) => Some(port),
            Self::Stale(..)
            | Self::Dangling(..)
            | Self::MissingName(..)
            | Self::Storm(_)
            | Self::Opaque(_) => None,
        }
    }
}

/// Content of a finding that is reported when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assessment {
    /// The code.
    pub code: FindingCode,
    /// What NetworkPolicies say about the port.
    pub policy: PolicyVerdict,
    /// The exception that suppresses the finding.
    pub suppressed_by: Option<Arc<Suppression>>,
}

/// One open or suppressed finding.
#[derive(Clone, Debug)]
pub(crate) struct FindingRecord {
    /// What the finding is about.
    pub subject: Subject,
    /// What the finding says.
    pub assessment: Assessment,
    /// When the condition began.
    pub first_seen: BootTime,
    /// When the finding was last reported; 0 if never.
    pub reported_at: BootTime,
    /// When the report of the latest change of code or state was made; `None` if there was no change since it was opened.
    pub changed_at: Moment,
    /// Code that was reported before its latest change.
    pub previous_code: Option<FindingCode>,
    /// Code and state of the last report; `None` if there was none. What changed and changed back between two reports is no
    /// change.
    reported: Option<(FindingCode, FindingState)>,
    /// When the finding is due to be reported again; `None`: never.
    repeat_at: Moment,
}

impl FindingRecord {
    /// Returns `Suppressed` if an exception applies, else `Open`.
    #[must_use]
    pub(crate) const fn state(&self) -> FindingState {
        if self.assessment.suppressed_by.is_some() { FindingState::Suppressed } else { FindingState::Open }
    }

    /// Notes a report, and what it changes against the one before.
    fn note_report(&mut self, now: BootTime) {
        self.reported_at = now;
        let said = (self.assessment.code, self.state());
        let Some(before) = self.reported.replace(said).filter(|before| *before != said) else { return };
        self.changed_at = now.into();
        if before.0 != said.0 {
            self.previous_code = Some(before.0);
        }
    }
}

/// What raising a finding changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raised {
    /// The finding is new.
    Opened,
    /// The finding has another code, policy verdict or exception.
    Changed,
    /// Nothing.
    Same,
}

/// The open and suppressed findings by id.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    open: BTreeMap<u64, FindingRecord>,
    /// When each finding is due to be reported again.
    repeats: BTreeSet<(BootTime, u64)>,
    /// Changes of storms that are not reported yet.
    storms: Vec<(StormScope, StormChange)>,
    /// Findings of an earlier run of the agent.
    pub remembered: Remembered,
}

impl Findings {
    #[must_use]
    pub(crate) fn get(&self, id: u64) -> Option<&FindingRecord> {
        self.open.get(&id)
    }

    /// Opens a finding, or changes what it says. A finding that is remembered from an earlier run began when it began then.
    pub(crate) fn raise(
        &mut self,
        id: u64,
        subject: Subject,
        assessment: Assessment,
        first_seen: BootTime,
    ) -> Raised {
        let remembered = self.remembered.first_seen(id, subject.port().map(|port| port.netns));
        if remembered.is_some() {
            self.remembered.claim(id);
        }
        let first_seen = remembered.map_or(first_seen, |began| began.min(first_seen));
        match self.open.get_mut(&id) {
            Some(record) => {
                let is_remembered_late = remembered.is_some() && first_seen < record.first_seen;
                // A fact that comes late may show that the condition began earlier.
                record.first_seen = record.first_seen.min(first_seen);
                // Another port may have taken the finding over.
                record.subject = subject;
                let is_same = record.assessment == assessment && !is_remembered_late;
                record.assessment = assessment;
                if is_same { Raised::Same } else { Raised::Changed }
            }
            None => {
                let record = FindingRecord {
                    subject,
                    assessment,
                    first_seen,
                    reported_at: BootTime(0),
                    changed_at: Moment::NONE,
                    previous_code: None,
                    reported: None,
                    repeat_at: Moment::NONE,
                };
                self.open.insert(id, record);
                Raised::Opened
            }
        }
    }

    /// Notes that the finding is reported now. It is due again after `interval`; zero: never.
    pub(crate) fn mark_reported(&mut self, id: u64, now: BootTime, interval: Duration) {
        let Some(record) = self.open.get_mut(&id) else { return };
        record.note_report(now);
        if let Some(before) = std::mem::take(&mut record.repeat_at).get() {
            self.repeats.remove(&(before, id));
        }
        if !interval.is_zero() {
            // Findings of one moment are spread over an eighth of the interval. Ids are as good as random.
            let spread = u32::try_from(id % SPREAD).unwrap_or_default();
            let due = now.after(interval).after(interval / 8 / (SPREAD as u32) * spread);
            record.repeat_at = due.into();
            if let Some(due) = record.repeat_at.get() {
                self.repeats.insert((due, id));
            }
        }
    }

    /// When a finding is due to be reported again.
    #[must_use]
    pub(crate) fn next_repeat(&self) -> Option<BootTime> {
        self.repeats.first().map(|(due, _)| *due)
    }

    /// Returns a finding that is due to be reported again. The caller reports it, or marks it as reported all the same.
    #[must_use]
    pub(crate) fn due_for_repeat(&self, now: BootTime) -> Option<u64> {
        self.repeats.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id)
    }

    /// Removes a finding.
    pub(crate) fn resolve(&mut self, id: u64) -> Option<FindingRecord> {
        let record = self.open.remove(&id)?;
        // What is remembered of a port lasts as long as the port's traffic, which a resolved finding does not end.
        if record.subject.port().is_none() {
            self.remembered.forget(id);
        }
        if let Some(due) = record.repeat_at.get() {
            self.repeats.remove(&(due, id));
        }
        Some(record)
    }

    /// Queues a change of a storm until [`Self::take_storms`].
    pub(crate) fn push_storm(&mut self, scope: StormScope, change: StormChange) {
        self.storms.push((scope, change));
    }

    /// Takes the queued changes of storms, oldest first.
    pub(crate) fn take_storms(&mut self) -> Vec<(StormScope, StormChange)> {
        std::mem::take(&mut self.storms)
    }

    /// Returns the findings in the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &FindingRecord)> {
        self.open.iter().map(|(id, record)| (*id, record))
    }

    /// Returns the findings after this id, in the order of ids.
    pub(crate) fn after(&self, id: Option<u64>) -> impl Iterator<Item = (u64, &FindingRecord)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range((from, Bound::Unbounded)).map(|(id, record)| (*id, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::NetnsId;

    fn says(code: FindingCode) -> Assessment {
        Assessment { code, policy: PolicyVerdict::Unknown, suppressed_by: None }
    }

    #[test]
    fn a_code_that_changes_back_before_it_is_reported_is_no_change() {
        let mut findings = Findings::default();
        let port = PortId { netns: NetnsId(1), protocol: Protocol::Tcp, port: NonZeroU16::MIN };
        let raise = |findings: &mut Findings, code| {
            findings.raise(1, Subject::Port(port), says(code), BootTime(1));
        };
        let (one, other) = (FindingCode::UndeclaredReachable, FindingCode::UndeclaredActive);
        raise(&mut findings, one);
        findings.mark_reported(1, BootTime(2), Duration::ZERO);
        raise(&mut findings, other);
        raise(&mut findings, one);
        findings.mark_reported(1, BootTime(3), Duration::ZERO);
        let changes = |findings: &Findings| {
            findings.get(1).map(|record| (record.changed_at.get(), record.previous_code)).unwrap_or_default()
        };
        assert_eq!(changes(&findings), (None, None));
        raise(&mut findings, other);
        findings.mark_reported(1, BootTime(4), Duration::ZERO);
        assert_eq!(changes(&findings), (Some(BootTime(4)), Some(one)));
    }
}
