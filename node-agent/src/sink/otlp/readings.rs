//! Sends the metrics from time to time, and once more at the end. What did not get through is not kept: the next reading
//! holds it, since every sum counts from the start.

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
        self.until(pin!(sleep(part_of(self.every, random())))).await;
        loop {
            // However long this one takes.
            let mut next = pin!(sleep(self.every));
            let is_last = *self.ending.borrow();
            self.send_one(start, next.as_mut()).await;
            if is_last {
                return;
            }
            self.until(next).await;
        }
    }

    /// One reading, tried again until the next is due.
    async fn send_one(&mut self, start: u64, mut next: Pin<&mut Sleep>) {
        let mut backoff = Backoff::new(self.pace.first, self.pace.most);
        loop {
            let span = Span { start, now: nanos((self.clock)()) };
            match self.post.send(self.request(span)).await {
                Answer::Accepted { rejected: 0, .. } => return self.standing.tell(None),
                Answer::Accepted { reason, .. }
                | Answer::TooLarge { reason }
                | Answer::Refused { reason } => return self.fail(reason),
                Answer::Later { reason, .. } if *self.ending.borrow() => return self.fail(reason),
                Answer::Later { after, reason } => {
                    self.standing.tell(Some(reason.clone()));
                    let wait = backoff.next(random()) + after.unwrap_or_default();
                    self.until(pin!(sleep(wait))).await;
                    if is_over(next.as_mut()).await {
                        return self.fail(reason);
                    }
                }
            }
        }
    }

    /// Comes back earlier when the end is near.
    async fn until(&mut self, wait: Pin<&mut Sleep>) {
        tokio::select! {
            () = wait => {}
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
