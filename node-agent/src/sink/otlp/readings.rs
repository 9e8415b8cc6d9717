//! Sends the metrics from time to time, and once more at the end. What did not get through is not kept: the next reading
//! holds it, since every sum counts from the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tokio::sync::watch;
use tokio::time::sleep;

use super::attributes::{resource, scope};
use super::backoff::{Backoff, part_of, random};
use super::exposition::{self, Span};
use super::messages::{MetricsRequest, ResourceMetrics, ScopeMetrics};
use super::post::{Answer, Post};
use super::{Pace, Standing, ended};
use crate::sink::metrics::Metrics;

/// Below the endpoint.
pub const PATH: &str = "/v1/metrics";

/// The task that reads the metrics.
pub struct MetricSender {
    pub node: Arc<str>,
    pub metrics: Arc<Metrics>,
    pub post: Post,
    pub pace: Pace,
    pub every: Duration,
    pub clock: fn() -> Timestamp,
    /// Readings that did not get through.
    pub failed: Arc<AtomicU64>,
    pub standing: Standing,
    pub ending: watch::Receiver<bool>,
}

impl MetricSender {
    /// Ends after the reading that is made when it is told to.
    pub async fn run(mut self) {
        let start = nanos((self.clock)());
        // Agents that start together do not send together.
        let mut wait = part_of(self.every, random());
        loop {
            self.pause(wait).await;
            let is_last = *self.ending.borrow();
            let waited = self.send_one(start).await;
            if is_last {
                return;
            }
            wait = self.every.saturating_sub(waited);
        }
    }

    /// One reading, tried again until the next would be due; returns how long was waited between the tries.
    async fn send_one(&mut self, start: u64) -> Duration {
        let mut backoff = Backoff::new(self.pace.first, self.pace.most);
        let mut waited = Duration::ZERO;
        loop {
            let span = Span { start, now: nanos((self.clock)()) };
            match self.post.send(self.request(span)).await {
                Answer::Accepted { rejected: 0, .. } => {
                    self.standing.tell(None);
                    return waited;
                }
                Answer::Accepted { reason, .. } | Answer::Refused { reason } => {
                    self.fail(reason);
                    return waited;
                }
                Answer::Later { after, reason } => {
                    let wait = after.unwrap_or_else(|| backoff.next(random()));
                    if *self.ending.borrow() || waited + wait >= self.every {
                        self.fail(reason);
                        return waited;
                    }
                    self.standing.tell(Some(reason));
                    waited += wait;
                    self.pause(wait).await;
                }
            }
        }
    }

    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = ended(&mut self.ending) => {}
        }
    }

    fn fail(&self, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.standing.tell(Some(reason));
    }

    fn request(&self, span: Span) -> Bytes {
        let metrics = exposition::metrics(&self.metrics.encode(), span);
        let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics };
        let readings =
            ResourceMetrics { resource: Some(resource(&self.node)), scope_metrics: Some(scope_metrics) };
        MetricsRequest { resource_metrics: Some(readings) }.encode_to_vec().into()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
