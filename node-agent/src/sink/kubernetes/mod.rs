//! Kubernetes objects that tell what was found: a `Report` for each pod, and Events for what is bad and new. What is to be
//! written is a bounded state; writers bring it to the API server at their own pace.

mod bucket;
pub mod desk;
mod event_object;
pub mod events;
mod leftovers;
mod line;
mod page;
mod place;
pub mod report_object;
pub mod reports;
pub mod writer;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_engine::model::finding::Finding;
use portolan_engine::model::identity::BootTime;
use tokio::task::JoinHandle;

use self::bucket::Bucket;
use self::desk::{Desk, Lookup};
use self::events::Events;
use self::reports::Reports;
use self::writer::{Office, WriteCounts, Writer};
use crate::kubernetes_api::backoff::random;
use crate::source::state::{Reporter, Source, State, StateFeed};

/// How long after the start what an agent before us left is compared with what we found: by then a port that is open, or a
/// declared port that is silent, has become a finding.
const LOOK_AFTER: Duration = Duration::from_secs(180);

/// What objects tell of is noted here; nothing waits.
#[derive(Default)]
pub struct ClusterSinks {
    reports: Option<Counter<Reports>>,
    events: Option<Counter<Events>>,
}

/// One sink, as the engine's side sees it.
struct Counter<D> {
    desk: Arc<Mutex<D>>,
    counts: Arc<WriteCounts>,
}

/// What a sink has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub sink: &'static str,
    pub written: u64,
    pub refused: u64,
    pub failed: u64,
    /// Found no room.
    pub limited: u64,
}

impl ClusterSinks {
    /// Starts to write reports. Needs a tokio runtime.
    #[must_use]
    pub fn start_reports(&mut self, office: &Office, feed: &StateFeed) -> JoinHandle<()> {
        let desk = Arc::new(Mutex::new(Reports::new(office.times)));
        let bucket = Bucket::new(office.times.report_every, office.times.burst);
        let (writer, counts) = open(&desk, office, bucket, feed.reporter(Source::Reports));
        let (office, left) = (office.clone(), Arc::clone(&desk));
        let task = tokio::spawn(async move {
            let look = async {
                let look_at = (office.now)().after(LOOK_AFTER.min(office.times.seldom));
                let found = leftovers::list(&office).await;
                left.lock().unwrap_or_else(PoisonError::into_inner).left_behind(found, look_at);
            };
            tokio::join!(look, writer.run());
        });
        self.reports = Some(Counter { desk, counts });
        task
    }

    /// Starts to write Events. Needs a tokio runtime.
    #[must_use]
    pub fn start_events(&mut self, office: &Office, feed: &StateFeed) -> JoinHandle<()> {
        let desk = Arc::new(Mutex::new(Events::new(office.times)));
        let bucket = Bucket::new(office.times.event_every, office.times.burst);
        let (writer, counts) = open(&desk, office, bucket, feed.reporter(Source::Events));
        self.events = Some(Counter { desk, counts });
        tokio::spawn(writer.run())
    }

    /// A finding is new, has changed, or has ended.
    pub fn note(&self, finding: &Finding, now: BootTime) {
        if let Some(reports) = &self.reports {
            reports.with(|desk| desk.note(finding, now, random()));
        }
        if let Some(events) = &self.events {
            events.with(|desk| desk.note(finding, now, random()));
        }
    }

    /// Takes in what the API server knows of the pods. Call it about once a second.
    pub fn settle(&self, at_server: Lookup<'_>, now: BootTime) {
        if let Some(reports) = &self.reports {
            reports.with(|desk| desk.settle(at_server, now));
        }
        if let Some(events) = &self.events {
            events.with(|desk| desk.settle(at_server, now));
        }
    }

    /// Findings, by their ids, that were left out for want of room and are to be noted again. Call it after
    /// [`Self::settle`].
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        self.reports.as_ref().map(|reports| reports.with(|desk| desk.wanted())).unwrap_or_default()
    }

    /// What was done so far, by those that are on.
    #[must_use]
    pub fn done(&self) -> Vec<Done> {
        let reports = self.reports.as_ref().map(|counter| counter.done("reports"));
        let events = self.events.as_ref().map(|counter| counter.done("events"));
        reports.into_iter().chain(events).collect()
    }
}

impl<D: Desk> Counter<D> {
    fn with<R>(&self, act: impl FnOnce(&mut D) -> R) -> R {
        act(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn done(&self, sink: &'static str) -> Done {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Done {
            sink,
            written: count(&self.counts.written),
            refused: count(&self.counts.refused),
            failed: count(&self.counts.failed),
            limited: self.with(|desk| desk.limited()),
        }
    }
}

fn open<D: Desk>(
    desk: &Arc<Mutex<D>>,
    office: &Office,
    bucket: Bucket,
    reporter: Reporter,
) -> (Writer<D>, Arc<WriteCounts>) {
    // It works until a write fails.
    reporter.report(State::Up);
    let counts = Arc::new(WriteCounts::default());
    let writer = Writer {
        desk: Arc::clone(desk),
        office: office.clone(),
        bucket,
        counts: Arc::clone(&counts),
        reporter,
    };
    (writer, counts)
}
