//! Sinks that write Kubernetes objects: a `Report` for each pod, and Events for new severe findings. The wanted objects are a
//! bounded state, and writers send it to the API server at a limited rate.

mod event_object;
pub mod events;
mod object_ref;
pub mod pending_writes;
mod pod_report;
mod previous_reports;
mod report_entry;
pub mod report_object;
pub mod reports;
mod token_bucket;
pub mod writer;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan_engine::model::finding::Finding;
use portolan_engine::model::identity::BootTime;
use tokio::task::JoinHandle;

use self::events::Events;
use self::pending_writes::{PendingWrites, PodLookup};
use self::reports::Reports;
use self::token_bucket::TokenBucket;
use self::writer::{WriteCounts, Writer, WriterContext};
use crate::retry::backoff::random;
use crate::state::{Reporter, Source, State, StateFeed};

/// Time after the start at which reports of an earlier agent are compared with the findings. By then an open port, and a
/// declared port without a listener, have become findings.
const CHECK_PREVIOUS_AFTER: Duration = Duration::from_secs(180);

/// The sinks that are on. Takes findings, and never blocks.
#[derive(Default)]
pub struct ClusterSinks {
    reports: Option<SinkHandle<Reports>>,
    events: Option<SinkHandle<Events>>,
}

/// The pipeline's end of one sink.
struct SinkHandle<P> {
    pending: Arc<Mutex<P>>,
    counts: Arc<WriteCounts>,
}

/// Number of writes of one sink, by outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteTotals {
    /// `reports` or `events`.
    pub sink: &'static str,
    pub written: u64,
    pub refused: u64,
    pub failed: u64,
    /// Findings that a limit dropped.
    pub limited: u64,
}

impl ClusterSinks {
    /// Starts the writer of reports. Needs a tokio runtime.
    #[must_use]
    pub fn start_reports(&mut self, context: &WriterContext, feed: &StateFeed) -> JoinHandle<()> {
        let pending = Arc::new(Mutex::new(Reports::new(context.timings, Arc::clone(&context.agent.node))));
        let tokens = TokenBucket::new(context.timings.report_every, context.timings.burst);
        let (writer, counts) = open(&pending, context, tokens, feed.reporter(Source::Reports));
        let (context, previous) = (context.clone(), Arc::clone(&pending));
        let task = tokio::spawn(async move {
            let check_previous = async {
                let check_at = (context.now)().after(CHECK_PREVIOUS_AFTER.min(context.timings.seldom));
                let found = previous_reports::list(&context).await;
                previous.lock().unwrap_or_else(PoisonError::into_inner).add_previous(found, check_at);
            };
            tokio::join!(check_previous, writer.run());
        });
        self.reports = Some(SinkHandle { pending, counts });
        task
    }

    /// Removes the reports that an earlier agent wrote on this node, where this one writes none. Needs a tokio runtime.
    #[must_use]
    pub fn remove_reports(context: &WriterContext) -> JoinHandle<()> {
        let context = context.clone();
        tokio::spawn(async move { previous_reports::remove(&context).await })
    }

    /// Starts the writer of Events. Needs a tokio runtime.
    #[must_use]
    pub fn start_events(&mut self, context: &WriterContext, feed: &StateFeed) -> JoinHandle<()> {
        let pending = Arc::new(Mutex::new(Events::new(context.timings, Arc::clone(&context.agent.node))));
        let tokens = TokenBucket::new(context.timings.event_every, context.timings.burst);
        let (writer, counts) = open(&pending, context, tokens, feed.reporter(Source::Events));
        self.events = Some(SinkHandle { pending, counts });
        tokio::spawn(writer.run())
    }

    /// Takes in a finding that is new, has changed, or has ended.
    pub fn note(&self, finding: &Finding, now: BootTime) {
        if let Some(reports) = &self.reports {
            reports.with(|pending| pending.note(finding, now, random()));
        }
        if let Some(events) = &self.events {
            events.with(|pending| pending.note(finding, now, random()));
        }
    }

    /// Updates what the API server knows of the pods. Call it about once a second.
    pub fn settle(&self, at_server: PodLookup<'_>, now: BootTime) {
        if let Some(reports) = &self.reports {
            reports.with(|pending| pending.settle(at_server, now));
        }
        if let Some(events) = &self.events {
            events.with(|pending| pending.settle(at_server, now));
        }
    }

    /// Returns ids of findings that a limit omitted and that fit now. Note them again. Call it after [`Self::settle`].
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        self.reports.as_ref().map(|reports| reports.with(|pending| pending.wanted())).unwrap_or_default()
    }

    /// Returns the totals of the sinks that are on.
    #[must_use]
    pub fn totals(&self) -> Vec<WriteTotals> {
        let reports = self.reports.as_ref().map(|handle| handle.totals("reports"));
        let events = self.events.as_ref().map(|handle| handle.totals("events"));
        reports.into_iter().chain(events).collect()
    }
}

impl<P: PendingWrites> SinkHandle<P> {
    fn with<R>(&self, act: impl FnOnce(&mut P) -> R) -> R {
        act(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn totals(&self, sink: &'static str) -> WriteTotals {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        WriteTotals {
            sink,
            written: count(&self.counts.written),
            refused: count(&self.counts.refused),
            failed: count(&self.counts.failed),
            limited: self.with(|pending| pending.limited()),
        }
    }
}

/// Creates a writer and its counts.
fn open<P: PendingWrites>(
    pending: &Arc<Mutex<P>>,
    context: &WriterContext,
    tokens: TokenBucket,
    reporter: Reporter,
) -> (Writer<P>, Arc<WriteCounts>) {
    // A writer counts as up until a write fails.
    reporter.report(State::Up);
    let counts = Arc::new(WriteCounts::default());
    let writer = Writer {
        pending: Arc::clone(pending),
        context: context.clone(),
        tokens,
        counts: Arc::clone(&counts),
        reporter,
    };
    (writer, counts)
}
