//! Export to an OpenTelemetry receiver over OTLP/HTTP: findings as log records, and the metrics. The pipeline only adds to
//! a bounded backlog. Separate tasks send and retry, so a receiver that is down costs only records.

pub mod attributes;
pub mod backlog;
pub mod client;
pub mod exposition;
pub mod log_sender;
pub mod messages;
pub mod metric_sender;
pub mod record;
pub mod repeat_filter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use portolan_report::wire::Finding;
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::backlog::{Backlog, BacklogLimits};
use self::client::OtlpClient;
use self::log_sender::LogSender;
use self::metric_sender::MetricSender;
use self::repeat_filter::RepeatFilter;
use super::metrics::Metrics;
use crate::args::agent::OtlpSignal;
use crate::config::otlp::OtlpConfig;
use crate::sink::convert::AgentIdentity;
use crate::state::{Reporter, Source, State, StateFeed};

/// Loss reason: records that were dropped as the oldest of a full backlog.
pub const FULL: &str = "otlp-full";
/// Loss reason: records that the receiver rejected.
pub const REFUSED: &str = "otlp-refused";
/// Loss reason: exports of the metrics that failed.
pub const METRICS_FAILED: &str = "otlp-metrics-failed";

/// Timeouts and intervals of the senders. The interval of the metrics is configuration.
#[derive(Clone, Copy, Debug)]
pub struct ExportTimings {
    /// Longest time that a record waits for a batch to fill.
    pub linger: Duration,
    /// Upper bound of the first wait after a fault.
    pub first_wait: Duration,
    /// Upper bound of every wait after a fault.
    pub max_wait: Duration,
    /// Timeout of a request.
    pub request_timeout: Duration,
}

impl ExportTimings {
    /// The timings of an agent.
    pub const DEFAULT: Self = Self {
        linger: Duration::from_secs(5),
        first_wait: Duration::from_secs(1),
        max_wait: Duration::from_secs(60),
        request_timeout: Duration::from_secs(10),
    };
}

/// Options of the export.
#[derive(Debug)]
pub struct OtlpOptions {
    pub config: OtlpConfig,
    pub agent: AgentIdentity,
    pub clock: fn() -> Timestamp,
    pub timings: ExportTimings,
    pub limits: BacklogLimits,
}

/// The pipeline's end of the export: takes findings and counts losses.
#[derive(Clone, Debug)]
pub struct RecordQueue {
    /// `None` if log records are not exported.
    backlog: Option<Arc<Backlog>>,
    repeat_filter: Arc<RepeatFilter>,
    refused: Arc<AtomicU64>,
    metrics_failed: Arc<AtomicU64>,
}

impl RecordQueue {
    /// Adds the finding's record to the backlog, unless the repeat filter holds it back. Never blocks.
    pub fn offer(&self, finding: &Finding) {
        let Some(backlog) = &self.backlog else { return };
        let record = record::log_record(finding);
        if self.repeat_filter.is_due(finding, record.time_unix_nano) {
            backlog.push(record.encode_to_vec().into());
        }
    }

    /// Returns the losses so far, by reason.
    #[must_use]
    pub fn lost(&self) -> [(&'static str, u64); 3] {
        let full = self.backlog.as_ref().map_or(0, |backlog| backlog.dropped());
        let refused = self.refused.load(Ordering::Relaxed);
        [(FULL, full), (REFUSED, refused), (METRICS_FAILED, self.metrics_failed.load(Ordering::Relaxed))]
    }
}

/// Reports whether the last request of one sender succeeded.
#[derive(Debug)]
pub struct StatusReporter(Reporter);

impl StatusReporter {
    /// Publishes a failure with its reason, or a success (`None`).
    fn report(&self, reason: Option<String>) {
        self.0.report(State::up_unless(reason));
    }
}

/// The running senders.
#[derive(Debug)]
pub struct Export {
    pub records: RecordQueue,
    ending: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the senders that the configuration asks for, on the current runtime.
#[must_use]
pub fn start(options: OtlpOptions, metrics: Arc<Metrics>, feed: &StateFeed) -> Export {
    let OtlpOptions { config, agent, clock, timings, limits } = options;
    let (ending, ended) = watch::channel(false);
    let is_wanted = |signal| config.signals.contains(&signal);
    let mut records = RecordQueue {
        backlog: None,
        repeat_filter: Arc::default(),
        refused: Arc::default(),
        metrics_failed: Arc::default(),
    };
    let mut tasks = Vec::new();
    if is_wanted(OtlpSignal::Logs) {
        let backlog = Arc::new(Backlog::new(limits));
        records.backlog = Some(Arc::clone(&backlog));
        let sender = LogSender {
            agent: agent.clone(),
            backlog,
            client: OtlpClient::new(&config, log_sender::PATH, timings.request_timeout),
            timings,
            refused: Arc::clone(&records.refused),
            status: StatusReporter(feed.reporter(Source::OtlpLogs)),
            ending: ended.clone(),
        };
        tasks.push(tokio::spawn(sender.run()));
    }
    if is_wanted(OtlpSignal::Metrics) {
        let sender = MetricSender {
            agent,
            metrics,
            client: OtlpClient::new(&config, metric_sender::PATH, timings.request_timeout),
            timings,
            interval: config.every,
            clock,
            failed: Arc::clone(&records.metrics_failed),
            status: StatusReporter(feed.reporter(Source::OtlpMetrics)),
            ending: ended,
        };
        tasks.push(tokio::spawn(sender.run()));
    }
    Export { records, ending, tasks }
}

impl Export {
    /// Sends the backlog and the metrics once more, for at most `timeout`. Returns the number of records that did not arrive.
    pub async fn finish(self, timeout: Duration) -> usize {
        let Self { records, ending, mut tasks } = self;
        ending.send_replace(true);
        let all = async {
            for task in &mut tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(timeout, all).await;
        for task in tasks {
            task.abort();
        }
        records.backlog.map_or(0, |backlog| backlog.unsent())
    }
}

/// Returns when the export is asked to end.
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
