//! Sends the records that wait, a batch at a time, and does not let go of one before it arrived or was refused for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        while let Some(batch) = self.backlog.batch(self.pace.linger, &mut self.ending).await {
            match self.post.send(self.request(&batch)).await {
                Answer::Accepted { rejected, reason } => {
                    self.backlog.settle();
                    self.refuse(rejected.min(batch.len() as u64));
                    self.standing.tell((rejected > 0).then_some(reason));
                    backoff.succeeded();
                }
                Answer::Refused { reason } => {
                    self.backlog.settle();
                    self.refuse(batch.len() as u64);
                    self.standing.tell(Some(reason));
                }
                Answer::Later { after, reason } => {
                    self.backlog.put_back(batch);
                    self.standing.tell(Some(reason));
                    if *self.ending.borrow() {
                        return;
                    }
                    let wait = after.unwrap_or_else(|| backoff.next(random()));
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = ended(&mut self.ending) => {}
                    }
                }
            }
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
