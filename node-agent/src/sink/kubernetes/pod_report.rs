//! The wanted report of one pod: its findings, the results of findings beyond the limits, and what the API server has.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::object_ref::ObjectRef;
use super::report_entry::{PolicyResult, ReportEntry};
use super::report_object::Summary;

/// The wanted report of one pod, and the state of its writes.
#[derive(Debug)]
pub struct PodReport {
    pub pod: PodRef,
    /// The pod at the API server. `None` while the server does not know it.
    pub object_ref: Option<ObjectRef>,
    /// Findings by id.
    pub entries: BTreeMap<String, ReportEntry>,
    /// Results of findings that exceed the limits, by id.
    pub omitted: BTreeMap<String, PolicyResult>,
    /// The last report that this agent wrote.
    pub written: Option<Written>,
    /// True if the API server has or may have a report, by this agent or an earlier one.
    pub on_server: bool,
    /// True if the last write failed and will be retried.
    pub has_failed: bool,
    /// Earliest time of the next write.
    pub not_before: BootTime,
    /// Time of the next write. `None` if nothing is due.
    pub due: Option<BootTime>,
}

/// A report that was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// [`PodReport::content_hash`] when it was written.
    pub content_hash: u64,
    pub at: BootTime,
}

impl PodReport {
    /// Creates a report without findings.
    #[must_use]
    pub fn new(pod: PodRef) -> Self {
        Self {
            pod,
            object_ref: None,
            entries: BTreeMap::new(),
            omitted: BTreeMap::new(),
            written: None,
            on_server: false,
            has_failed: false,
            not_before: BootTime(0),
            due: None,
        }
    }

    /// Hashes everything in the report but counts and times.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for entry in self.entries.values() {
            entry.content_hash().hash(&mut hasher);
        }
        self.summary().hash(&mut hasher);
        hasher.finish()
    }

    /// Counts all findings by result, the omitted ones included.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.entries.values().map(ReportEntry::result).chain(self.omitted.values().copied()).collect()
    }

    /// Returns true if the report lists or counts this finding.
    #[must_use]
    pub fn holds(&self, finding: &str) -> bool {
        self.entries.contains_key(finding) || self.omitted.contains_key(finding)
    }

    /// Returns true if the report lists or counts any finding.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        !(self.entries.is_empty() && self.omitted.is_empty())
    }

    /// Returns true if there is no finding, and no report at the API server.
    #[must_use]
    pub fn is_unneeded(&self) -> bool {
        !self.has_findings() && !self.on_server
    }

    /// Returns the least important entry.
    #[must_use]
    pub fn mildest(&self) -> Option<&ReportEntry> {
        self.entries.values().min_by_key(|entry| entry.rank())
    }

    /// Updates the pod at the API server. The server deletes a report with the pod that owns it, as when the mirror of a
    /// static pod is created again. After a change of the UID the report is due again, by `due`.
    pub fn move_to(&mut self, object_ref: Option<ObjectRef>, due: BootTime) {
        let uid = |pod: &Option<ObjectRef>| -> Option<PodUid> { pod.as_ref().map(|pod| pod.uid.clone()) };
        if self.object_ref.is_some() && uid(&self.object_ref) != uid(&object_ref) {
            self.written = None;
            self.on_server = false;
            self.has_failed = false;
            self.due = Some(due.max(self.not_before));
        }
        self.object_ref = object_ref;
    }
}
