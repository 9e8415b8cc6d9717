//! What a writer of objects asks of those who know what is to be written: what is due, and what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::finding::Finding;
use portolan_engine::model::identity::{BootTime, PodUid};
use portolan_engine::model::pod::PodRef;

use super::report_object::Author;
use crate::kubernetes_api::access::Write;

/// The times of both sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The agent writes nothing before a random moment within this.
    pub start_within: Duration,
    /// A change waits this long, and at random as long again, for those that come with it.
    pub gather: Duration,
    /// A report is written once in this time at most.
    pub between: Duration,
    /// A report of which only amounts changed is written once in this time at most.
    pub refresh: Duration,
    /// A report that nothing changes is written again after once to twice this.
    pub renew: Duration,
    /// The same finding makes one Event in this time at most.
    pub told_for: Duration,
    /// What the server does not take is tried again after this.
    pub seldom: Duration,
    /// All reports of this agent: one in this time, and some at once.
    pub report_every: Duration,
    /// All Events of this agent, likewise.
    pub event_every: Duration,
    pub burst: u32,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            start_within: Duration::from_secs(30),
            gather: Duration::from_secs(5),
            between: Duration::from_secs(60),
            refresh: Duration::from_secs(1800),
            renew: Duration::from_secs(4 * 3600),
            told_for: Duration::from_secs(3600),
            seldom: Duration::from_secs(600),
            report_every: Duration::from_secs(2),
            event_every: Duration::from_secs(5),
            burst: 10,
        }
    }
}

/// The pod of a UID (its own, or its mirror's) and the UID that the API server has for it; `None`: the server has no such
/// pod.
pub type Lookup<'a> = &'a dyn Fn(&PodUid) -> Option<(Arc<PodRef>, PodUid)>;

/// A write, and what names it until its outcome.
#[derive(Debug)]
pub struct Order<Key> {
    pub key: Key,
    pub namespace: String,
    pub write: Write,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// Try again from then on; it may have arrived all the same.
    Again(BootTime),
    /// It was not taken: try again from then on.
    Refused(BootTime),
}

/// What is to be written of one kind of object. Told by the engine's side, asked by a writer; neither waits for the other.
pub trait Desk: Send + 'static {
    /// What the agent's account must be allowed.
    const NEEDS: &'static str;
    /// What names a write until its outcome.
    type Key: Send;

    /// A finding is new, has changed, or has ended.
    fn note(&mut self, finding: &Finding, now: BootTime, random: u64);

    /// Asks what the API server knows of each pod.
    fn settle(&mut self, at_server: Lookup<'_>, now: BootTime);

    /// When something is to be written.
    fn next_due(&self) -> Option<BootTime>;

    /// What is due.
    fn take(&mut self, author: Author<'_>, now: BootTime) -> Option<Order<Self::Key>>;

    fn done(&mut self, key: Self::Key, outcome: Outcome, now: BootTime);

    /// The Kubernetes namespaces of what failed and will be tried again.
    fn owed(&self) -> BTreeSet<&str>;

    /// How often something found no room.
    fn limited(&self) -> u64;
}
