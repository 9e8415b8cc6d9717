//! The open findings: what each is about, its code, and when it was last told.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::change::{FindingState, PolicyVerdict, Suppression};
use super::crowd::CrowdOf;
use super::finding_code::FindingCode;
use super::identity::{BootTime, PortId, Protocol};
use super::pod_index::PodKey;

/// A finding is told at most this often for new peers.
pub const RETELL: Duration = Duration::from_secs(1);

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Port(PortId),
    Stale(PodKey, Protocol, NonZeroU16),
    /// A port that a Service sends to and nobody serves.
    Dangling(PodKey, Protocol, NonZeroU16),
    Storm(CrowdOf),
    /// A pod whose sockets this kernel does not see.
    Opaque(PodKey),
}

/// What a finding says; when that changes it is told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    pub code: FindingCode,
    pub policy: PolicyVerdict,
    pub suppressed_by: Option<Arc<Suppression>>,
}

/// One finding that is open or suppressed.
#[derive(Clone, Debug)]
pub struct FindingRecord {
    pub subject: Subject,
    pub stand: Stand,
    pub first_seen: BootTime,
    pub told_at: BootTime,
}

impl FindingRecord {
    #[must_use]
    pub const fn state(&self) -> FindingState {
        if self.stand.suppressed_by.is_some() { FindingState::Suppressed } else { FindingState::Open }
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
    pub fn raise(&mut self, id: u64, subject: Subject, stand: Stand, first_seen: BootTime) -> Raised {
        match self.open.get_mut(&id) {
            Some(record) if record.stand == stand => Raised::Same,
            Some(record) => {
                record.stand = stand;
                Raised::Changed
            }
            None => {
                let record = FindingRecord { subject, stand, first_seen, told_at: BootTime(0) };
                self.open.insert(id, record);
                Raised::Opened
            }
        }
    }

    pub fn tell(&mut self, id: u64, now: BootTime) {
        if let Some(record) = self.open.get_mut(&id) {
            record.told_at = now;
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

    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
