//! Sends the metrics at an interval, and once more at the end. A failed export is not kept: all sums are cumulative, so the
//! next export contains its values.

use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::attributes::{resource, scope};
use super::client::{OtlpClient, SendOutcome};
use super::exposition::{self, Span};
use super::messages::{MetricsRequest, ResourceMetrics, ScopeMetrics};
use super::{ExportTimings, StatusReporter, ended};
use crate::retry::backoff::{Backoff, Jitter, random, random_part};
use crate::sink::convert::AgentIdentity;
use crate::sink::metrics::Metrics;

/// Path of metrics below the endpoint.
pub const PATH: &str = "/v1/metrics";

/// The task that sends the metrics.
pub struct MetricSender {
    pub agent: AgentIdentity,
    pub metrics: Arc<Metrics>,
    pub client: OtlpClient,
    pub timings: ExportTimings,
    /// Time from the start of one export to the start of the next.
    pub interval: Duration,
    pub clock: fn() -> Timestamp,
    /// Number of failed exports.
    pub failed: Arc<AtomicU64>,
    pub status: StatusReporter,
    pub ending: watch::Receiver<bool>,
}

impl MetricSender {
    /// Sends until the export ends, and then once more.
    pub async fn run(mut self) {
        let start = nanos((self.clock)());
        // Spreads agents that start at the same time.
        self.until(pin!(sleep(random_part(self.interval, random())))).await;
        loop {
            // The interval also runs while the request is sent.
            let mut next = pin!(sleep(self.interval));
            let is_last = *self.ending.borrow();
            self.send_one(start, next.as_mut()).await;
            if is_last {
                return;
            }
            self.until(next).await;
        }
    }

    /// Sends the current metrics. Retries until `next` is due.
    async fn send_one(&mut self, start: u64, mut next: Pin<&mut Sleep>) {
        let mut backoff = Backoff::new(self.timings.first_wait, self.timings.max_wait, Jitter::Half);
        loop {
            let span = Span { start, now: nanos((self.clock)()) };
            match self.client.send(self.request(span)).await {
                SendOutcome::Accepted { rejected: 0, .. } => return self.status.report(None),
                SendOutcome::Accepted { reason, .. }
                | SendOutcome::TooLarge { reason }
                | SendOutcome::Refused { reason } => return self.fail(reason),
                SendOutcome::Retry { reason, .. } if *self.ending.borrow() => return self.fail(reason),
                SendOutcome::Retry { after, reason } => {
                    self.status.report(Some(reason.clone()));
                    let wait = backoff.next(random()) + after.unwrap_or_default();
                    self.until(pin!(sleep(wait))).await;
                    if is_over(next.as_mut()).await {
                        return self.fail(reason);
                    }
                }
            }
        }
    }

    /// Waits, but returns at once when the export ends.
    async fn until(&mut self, wait: Pin<&mut Sleep>) {
        tokio::select! {
            () = wait => {}
            () = ended(&mut self.ending) => {}
        }
    }

    fn fail(&self, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.status.report(Some(reason));
    }

    fn request(&self, span: Span) -> Bytes {
        let metrics = exposition::metrics(&self.metrics.encode(), span);
        let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics };
        let resource_metrics =
            ResourceMetrics { resource: Some(resource(&self.agent)), scope_metrics: Some(scope_metrics) };
        MetricsRequest { resource_metrics: Some(resource_metrics) }.encode_to_vec().into()
    }
}

/// Returns true if the wait is over, without waiting.
async fn is_over(wait: Pin<&mut Sleep>) -> bool {
    tokio::select! {
        biased;
        () = wait => true,
        () = ready(()) => false,
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
