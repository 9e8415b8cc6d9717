//! The open and suppressed findings: subject, assessment, and when each was last reported.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::model::finding::{FindingState, Suppression};
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, PodKey, PortId, Protocol};
use crate::model::policy::PolicyVerdict;
use crate::state::storms::StormScope;

/// A finding is told at most this often for new peers.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Port(PortId),
    Stale(PodKey, Protocol, NonZeroU16),
    /// A port that a Service sends to and nobody serves.
    Dangling(PodKey, Protocol, NonZeroU16),
    Storm(StormScope),
    /// A pod whose sockets this kernel does not see.
    Opaque(PodKey),
}

/// What a finding says; when that changes it is told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub code: FindingCode,
    pub policy: PolicyVerdict,
    pub suppressed_by: Option<Arc<Suppression>>,
}

/// One finding that is open or suppressed.
#[derive(Clone, Debug)]
pub struct FindingRecord {
    pub subject: Subject,
    pub assessment: Assessment,
    pub first_seen: BootTime,
    pub reported_at: BootTime,
}

impl FindingRecord {
    #[must_use]
    pub const fn state(&self) -> FindingState {
        if self.assessment.suppressed_by.is_some() { FindingState::Suppressed } else { FindingState::Open }
    }
}

/// What raising a finding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    Opened,
    Changed,
    Same,
}

/// The open findings by their id.
#[derive(Debug, Default)]
pub struct FindingStore {
    open: BTreeMap<u64, FindingRecord>,
}

impl FindingStore {
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&FindingRecord> {
        self.open.get(&id)
    }

    /// Opens a finding, or changes what it says.
    pub fn raise(
        &mut self,
        id: u64,
        subject: Subject,
        assessment: Assessment,
        first_seen: BootTime,
    ) -> Raised {
        match self.open.get_mut(&id) {
            Some(record) if record.assessment == assessment => Raised::Same,
            Some(record) => {
                record.assessment = assessment;
                Raised::Changed
            }
            None => {
                let record = FindingRecord { subject, assessment, first_seen, reported_at: BootTime(0) };
                self.open.insert(id, record);
                Raised::Opened
            }
        }
    }

    pub fn mark_reported(&mut self, id: u64, now: BootTime) {
        if let Some(record) = self.open.get_mut(&id) {
            record.reported_at = now;
        }
    }

    pub fn resolve(&mut self, id: u64) -> Option<FindingRecord> {
        self.open.remove(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &FindingRecord)> {
        self.open.iter().map(|(id, record)| (*id, record))
    }

    /// Those after this id, in the order of ids.
    pub fn after(&self, id: Option<u64>) -> impl Iterator<Item = (u64, &FindingRecord)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range((from, Bound::Unbounded)).map(|(id, record)| (*id, record))
    }
}
