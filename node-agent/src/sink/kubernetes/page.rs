//! What the report of one pod ought to say: its findings, those that find no room by their result alone, and what the API
//! server has of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::line::{Line, PolicyResult};
use super::place::Place;
use super::report_object::Summary;

/// One pod's report.
#[derive(Debug)]
pub struct Page {
    pub pod: PodRef,
    pub place: Option<Place>,
    pub lines: BTreeMap<String, Line>,
    /// Findings for which there is no room, by their ids.
    pub omitted: BTreeMap<String, PolicyResult>,
    /// What the API server has by us.
    pub written: Option<Written>,
    /// It has one, by us or by an agent before us, or may have.
    pub on_server: bool,
    /// The last try failed, and there will be another.
    pub has_failed: bool,
    /// Not before this, whatever changes.
    pub not_before: BootTime,
    pub due: Option<BootTime>,
}

#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub shape: u64,
    pub at: BootTime,
}

impl Page {
    #[must_use]
    pub fn new(pod: PodRef) -> Self {
        Self {
            pod,
            place: None,
            lines: BTreeMap::new(),
            omitted: BTreeMap::new(),
            written: None,
            on_server: false,
            has_failed: false,
            not_before: BootTime(0),
            due: None,
        }
    }

    /// A number that differs where a report would differ in more than amounts.
    #[must_use]
    pub fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for line in self.lines.values() {
            line.shape().hash(&mut hasher);
        }
        self.summary().hash(&mut hasher);
        hasher.finish()
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        self.lines.values().map(Line::result).chain(self.omitted.values().copied()).collect()
    }

    #[must_use]
    pub fn holds(&self, finding: &str) -> bool {
        self.lines.contains_key(finding) || self.omitted.contains_key(finding)
    }

    #[must_use]
    pub fn has_findings(&self) -> bool {
        !(self.lines.is_empty() && self.omitted.is_empty())
    }

    /// Nothing was ever told of it, and there is nothing to tell.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.has_findings() && !self.on_server
    }

    /// The line that would be missed least.
    #[must_use]
    pub fn mildest(&self) -> Option<&Line> {
        self.lines.values().min_by_key(|line| line.rank())
    }

    /// Takes in where the pod is at the API server. A report goes with the pod that owns it, as a static pod's mirror does
    /// that is made anew: then it is to be written again by `due`.
    pub fn move_to(&mut self, place: Option<Place>, due: BootTime) {
        let uid = |place: &Option<Place>| -> Option<PodUid> { place.as_ref().map(|place| place.uid.clone()) };
        if self.place.is_some() && uid(&self.place) != uid(&place) {
            self.written = None;
            self.on_server = false;
            self.has_failed = false;
            self.due = Some(due.max(self.not_before));
        }
        self.place = place;
    }
}
