//! Findings as log records and the metrics, sent to an OpenTelemetry receiver over OTLP/HTTP. The engine's side only adds
//! to a bounded backlog; tasks of their own send, wait and try again, so a receiver that is down costs nothing but records.

pub mod attributes;
pub mod backlog;
pub mod backoff;
pub mod exposition;
pub mod logs;
pub mod messages;
pub mod post;
pub mod readings;
pub mod record;
pub mod repeats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use portolan_report::wire::Finding;
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::backlog::{Backlog, Room};
use self::logs::LogSender;
use self::post::Post;
use self::readings::MetricSender;
use self::repeats::Repeats;
use super::metrics::Metrics;
use crate::args::agent::OtlpSignal;
use crate::config::otlp::OtlpConfig;
use crate::source::state::{Reporter, Source, State, StateFeed};

/// Reason of records that were the oldest when the backlog was full.
pub const FULL: &str = "otlp-full";
/// Reason of records that the receiver refused.
pub const REFUSED: &str = "otlp-refused";
/// Reason of readings of the metrics that did not get through.
pub const METRICS_FAILED: &str = "otlp-metrics-failed";

/// Every time that the senders keep to, but the interval of the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A record waits so long for others.
    pub linger: Duration,
    /// The first wait after a fault is at most this,
    pub first: Duration,
    /// and no wait is longer than this.
    pub most: Duration,
    /// An answer that takes longer will not come.
    pub answer_within: Duration,
}

impl Pace {
    pub const DEFAULT: Self = Self {
        linger: Duration::from_secs(5),
        first: Duration::from_secs(1),
        most: Duration::from_secs(60),
        answer_within: Duration::from_secs(10),
    };
}

/// What the export needs to know.
#[derive(Debug)]
pub struct OtlpOptions {
    pub config: OtlpConfig,
    pub node: Arc<str>,
    pub clock: fn() -> Timestamp,
    pub pace: Pace,
    pub room: Room,
}

/// The pipeline's end: takes findings, and tells what was lost.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// `None`: records are not asked for.
    backlog: Option<Arc<Backlog>>,
    repeats: Arc<Repeats>,
    refused: Arc<AtomicU64>,
    metrics_failed: Arc<AtomicU64>,
}

impl Outlet {
    /// Adds the finding's record to those that wait, unless it only counts on too soon. Never waits itself.
    pub fn offer(&self, finding: &Finding) {
        let Some(backlog) = &self.backlog else { return };
        let record = record::log_record(finding);
        if self.repeats.is_due(finding, record.time_unix_nano) {
            backlog.push(record.encode_to_vec().into());
        }
    }

    /// What was dropped so far, by reason.
    #[must_use]
    pub fn lost(&self) -> [(&'static str, u64); 3] {
        let full = self.backlog.as_ref().map_or(0, |backlog| backlog.dropped());
        let refused = self.refused.load(Ordering::Relaxed);
        [(FULL, full), (REFUSED, refused), (METRICS_FAILED, self.metrics_failed.load(Ordering::Relaxed))]
    }
}

/// Reports why a sender's last request failed, if it did.
#[derive(Debug)]
pub struct Standing(Reporter);

impl Standing {
    fn tell(&self, reason: Option<String>) {
        self.0.report(State::up_unless(reason));
    }
}

/// The running senders.
#[derive(Debug)]
pub struct Export {
    pub outlet: Outlet,
    ending: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the senders on the current runtime.
#[must_use]
pub fn start(options: OtlpOptions, metrics: Arc<Metrics>, feed: &StateFeed) -> Export {
    let OtlpOptions { config, node, clock, pace, room } = options;
    let (ending, ended) = watch::channel(false);
    let is_asked = |signal| config.signals.contains(&signal);
    let mut outlet = Outlet {
        backlog: None,
        repeats: Arc::default(),
        refused: Arc::default(),
        metrics_failed: Arc::default(),
    };
    let mut tasks = Vec::new();
    if is_asked(OtlpSignal::Logs) {
        let backlog = Arc::new(Backlog::new(room));
        outlet.backlog = Some(Arc::clone(&backlog));
        let sender = LogSender {
            node: Arc::clone(&node),
            backlog,
            post: Post::new(&config, logs::PATH, pace.answer_within),
            pace,
            refused: Arc::clone(&outlet.refused),
            standing: Standing(feed.reporter(Source::OtlpLogs)),
            ending: ended.clone(),
        };
        tasks.push(tokio::spawn(sender.run()));
    }
    if is_asked(OtlpSignal::Metrics) {
        let sender = MetricSender {
            node,
            metrics,
            post: Post::new(&config, readings::PATH, pace.answer_within),
            pace,
            every: config.every,
            clock,
            failed: Arc::clone(&outlet.metrics_failed),
            standing: Standing(feed.reporter(Source::OtlpMetrics)),
            ending: ended,
        };
        tasks.push(tokio::spawn(sender.run()));
    }
    Export { outlet, ending, tasks }
}

impl Export {
    /// Sends what waits, and the metrics once more; gives up after `patience`. Returns how many records did not arrive.
    pub async fn finish(self, patience: Duration) -> usize {
        let Self { outlet, ending, mut tasks, .. } = self;
        ending.send_replace(true);
        let all = async {
            for task in &mut tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
        for task in tasks {
            task.abort();
        }
        outlet.backlog.map_or(0, |backlog| backlog.unsent())
    }
}

/// Comes back when the end is near.
async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|is_ending| *is_ending).await;
}

#[cfg(test)]
mod collector_tests;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod sending_tests;
#[cfg(test)]
mod tests;
