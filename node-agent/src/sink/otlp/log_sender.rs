//! Sends the backlog of log records in batches. A record stays in the backlog until the receiver accepts it or rejects it
//! for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;
use tokio::time::sleep;

use super::attributes::{resource, scope};
use super::backlog::Backlog;
use super::client::{OtlpClient, SendOutcome};
use super::messages::{LogsRequest, ResourceLogs, ScopeLogs};
use super::{ExportTimings, StatusReporter, ended};
use crate::retry::backoff::{Backoff, Jitter, random};
use crate::sink::convert::AgentIdentity;

/// Path of log records below the endpoint.
pub const PATH: &str = "/v1/logs";

/// The task that sends the backlog.
pub struct LogSender {
    pub agent: AgentIdentity,
    pub backlog: Arc<Backlog>,
    pub client: OtlpClient,
    pub timings: ExportTimings,
    /// Number of records that the receiver rejected.
    pub refused: Arc<AtomicU64>,
    pub status: StatusReporter,
    pub ending: watch::Receiver<bool>,
}

impl LogSender {
    /// Sends until the export ends and the backlog is empty, or until the receiver fails after the end was requested.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.timings.first_wait, self.timings.max_wait, Jitter::Half);
        // Records of one request. Halved after 413, doubled after each request that fits.
        let mut most = usize::MAX;
        while let Some(batch) = self.backlog.batch(most, self.timings.linger, &mut self.ending).await {
            let count = batch.len();
            match self.client.send(self.request(&batch)).await {
                SendOutcome::Accepted { rejected, reason } => {
                    self.backlog.settle();
                    most = most.saturating_mul(2);
                    self.refuse(rejected.min(count as u64));
                    self.status.report((rejected > 0).then_some(reason));
                    backoff.reset();
                }
                SendOutcome::TooLarge { reason } if count > 1 => {
                    self.backlog.put_back(batch);
                    most = count / 2;
                    self.status.report(Some(reason));
                    self.pause(backoff.next(random())).await;
                }
                SendOutcome::TooLarge { reason } | SendOutcome::Refused { reason } => {
                    self.backlog.settle();
                    most = most.saturating_mul(2);
                    self.refuse(count as u64);
                    self.status.report(Some(reason));
                }
                SendOutcome::Retry { after, reason } => {
                    self.backlog.put_back(batch);
                    self.status.report(Some(reason));
                    if *self.ending.borrow() {
                        return;
                    }
                    self.pause(backoff.next(random()) + after.unwrap_or_default()).await;
                }
            }
        }
    }

    /// Waits, but returns at once when the export ends.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = ended(&mut self.ending) => {}
        }
    }

    fn refuse(&self, count: u64) {
        self.refused.fetch_add(count, Ordering::Relaxed);
    }

    fn request(&self, batch: &[Bytes]) -> Bytes {
        let scope_logs = ScopeLogs { scope: Some(scope()), log_records: batch.to_vec() };
        let logs = ResourceLogs { resource: Some(resource(&self.agent)), scope_logs: Some(scope_logs) };
        LogsRequest { resource_logs: Some(logs) }.encode_to_vec().into()
    }
}
