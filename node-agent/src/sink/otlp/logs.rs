//! Sends the records that wait, a batch at a time, and does not let go of one before it arrived or was refused for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;
use tokio::time::sleep;

use super::attributes::{resource, scope};
use super::backlog::Backlog;
use super::backoff::{Backoff, random};
use super::messages::{LogsRequest, ResourceLogs, ScopeLogs};
use super::post::{Answer, Post};
use super::{Pace, Standing, ended};

/// Below the endpoint.
pub const PATH: &str = "/v1/logs";

/// The task that reads the backlog.
pub struct LogSender {
    pub node: Arc<str>,
    pub backlog: Arc<Backlog>,
    pub post: Post,
    pub pace: Pace,
    pub refused: Arc<AtomicU64>,
    pub standing: Standing,
    pub ending: watch::Receiver<bool>,
}

impl LogSender {
    /// Ends when it is told to and nothing is left, or the receiver does not take what is.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.pace.first, self.pace.most);
        // Records of one request: less where the receiver finds that too much.
        let mut most = usize::MAX;
        while let Some(batch) = self.backlog.batch(most, self.pace.linger, &mut self.ending).await {
            let count = batch.len();
            match self.post.send(self.request(&batch)).await {
                Answer::Accepted { rejected, reason } => {
                    self.backlog.settle();
                    most = most.saturating_mul(2);
                    self.refuse(rejected.min(count as u64));
                    self.standing.tell((rejected > 0).then_some(reason));
                    backoff.succeeded();
                }
                Answer::TooLarge { reason } if count > 1 => {
                    self.backlog.put_back(batch);
                    most = count / 2;
                    self.standing.tell(Some(reason));
                    self.pause(backoff.next(random())).await;
                }
                Answer::TooLarge { reason } | Answer::Refused { reason } => {
                    self.backlog.settle();
                    most = most.saturating_mul(2);
                    self.refuse(count as u64);
                    self.standing.tell(Some(reason));
                }
                Answer::Later { after, reason } => {
                    self.backlog.put_back(batch);
                    self.standing.tell(Some(reason));
                    if *self.ending.borrow() {
                        return;
                    }
                    self.pause(backoff.next(random()) + after.unwrap_or_default()).await;
                }
            }
        }
    }

    /// Comes back earlier when the end is near.
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
        let logs = ResourceLogs { resource: Some(resource(&self.node)), scope_logs: Some(scope_logs) };
        LogsRequest { resource_logs: Some(logs) }.encode_to_vec().into()
    }
}
