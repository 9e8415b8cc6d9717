//! The interface between a writer and the state of its objects: what is due, and the outcome of each write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::finding::Finding;
use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::report_object::Author;
use crate::kubernetes_api::access::ObjectWrite;

/// Delays and intervals of both sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteTimings {
    /// The first write happens after a random part of this time.
    pub start_within: Duration,
    /// A change waits one to two times this, so that changes at the same time share a write.
    pub gather: Duration,
    /// Minimum interval of the writes of one report.
    pub between: Duration,
    /// Minimum interval of the writes of a report in which only counts changed.
    pub refresh: Duration,
    /// An unchanged report is written again after one to two times this.
    pub renew: Duration,
    /// Time without a finding after which its return is another Event.
    pub event_repeat: Duration,
    /// A rejected write is retried after one to two times this.
    pub seldom: Duration,
    /// Interval of the writes of all reports, after a burst.
    pub report_every: Duration,
    /// Interval of the writes of all Events, after a burst.
    pub event_every: Duration,
    /// Number of writes that may follow each other at once.
    pub burst: u32,
}

impl Default for WriteTimings {
    fn default() -> Self {
        Self {
            start_within: Duration::from_secs(30),
            gather: Duration::from_secs(5),
            between: Duration::from_secs(60),
            refresh: Duration::from_secs(1800),
            renew: Duration::from_secs(4 * 3600),
            event_repeat: Duration::from_secs(3600),
            seldom: Duration::from_secs(600),
            report_every: Duration::from_secs(2),
            event_every: Duration::from_secs(5),
            burst: 10,
        }
    }
}

/// Finds the pod of a UID (its own or its mirror's), and its UID at the API server. `None` if the server has no such pod.
pub type PodLookup<'a> = &'a dyn Fn(&PodUid) -> Option<(Arc<PodRef>, PodUid)>;

/// A write that is due, and the key that identifies it until its outcome is known.
#[derive(Debug)]
pub struct WriteRequest<Key> {
    pub key: Key,
    /// Kubernetes namespace of the object.
    pub namespace: String,
    pub write: ObjectWrite,
}

/// Outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The server has the object.
    Written,
    /// A temporary failure: retry after this time. The write may have succeeded.
    Retry(BootTime),
    /// The server rejected the write: retry after this time.
    Refused(BootTime),
}

/// The wanted state of one kind of object. The pipeline updates it, and a writer reads it. Neither waits for the other.
pub trait PendingWrites: Send + 'static {
    /// Permission that the agent's service account needs.
    const NEEDS: &'static str;
    /// Identifies a write until its outcome is known.
    type Key: Send;

    /// Takes in a finding that is new, has changed, or has ended.
    fn note(&mut self, finding: &Finding, now: BootTime, random: u64);

    /// Updates what the API server knows of each pod.
    fn settle(&mut self, at_server: PodLookup<'_>, now: BootTime);

    /// Returns the time of the next write. `None` if nothing is due.
    fn next_due(&self) -> Option<BootTime>;

    /// Returns the next write that is due, and marks it as sent.
    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<WriteRequest<Self::Key>>;

    /// Takes in the outcome of a write.
    fn done(&mut self, key: Self::Key, outcome: WriteOutcome, now: BootTime);

    /// Returns the Kubernetes namespaces of failed writes that will be retried.
    fn failed_namespaces(&self) -> BTreeSet<&str>;

    /// Returns how often a limit dropped something.
    fn limited(&self) -> u64;
}
