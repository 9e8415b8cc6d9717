//! Backlog of records that have not arrived yet, bounded in number and bytes. When full, the oldest record is dropped, so
//! that adding never blocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::ended;

/// Limits of the backlog. Waiting and in-flight records both count.
#[derive(Clone, Copy, Debug)]
pub struct BacklogLimits {
    /// Maximum number of records.
    pub records: usize,
    /// Maximum size of all records in bytes.
    pub bytes: usize,
    /// Maximum number of records in one request.
    pub batch: usize,
    /// Maximum size of the records in one request. A single larger record is sent alone.
    pub batch_bytes: usize,
}

impl BacklogLimits {
    /// The limits of an agent.
    pub const DEFAULT: Self = Self { records: 4096, bytes: 8 << 20, batch: 512, batch_bytes: 512 << 10 };
}

#[derive(Debug, Default)]
struct RecordBuffer {
    records: VecDeque<Bytes>,
    bytes: usize,
    /// Number and bytes of records that are being sent.
    in_flight: (usize, usize),
}

/// The backlog. The pipeline writes, and one sender reads.
#[derive(Debug)]
pub struct Backlog {
    limits: BacklogLimits,
    waiting: Mutex<RecordBuffer>,
    grown: Notify,
    dropped: AtomicU64,
}

impl Backlog {
    #[must_use]
    pub fn new(limits: BacklogLimits) -> Self {
        Self { limits, waiting: Mutex::default(), grown: Notify::new(), dropped: AtomicU64::new(0) }
    }

    /// Adds a record. When full, drops and counts the oldest waiting record.
    pub fn push(&self, record: Bytes) {
        let mut waiting = self.lock();
        waiting.bytes += record.len();
        waiting.records.push_back(record);
        self.make_room(&mut waiting);
        drop(waiting);
        self.grown.notify_one();
    }

    /// Takes the oldest records, at most `most`. Waits until a batch is full, for at most `linger`, or until the export ends.
    /// `None` if the export ends and nothing is left. The caller must [`Self::settle`] the batch or [`Self::put_back`] it.
    pub async fn batch(
        &self,
        most: usize,
        linger: Duration,
        ending: &mut watch::Receiver<bool>,
    ) -> Option<Vec<Bytes>> {
        let most = most.min(self.limits.batch);
        while self.lock().records.is_empty() {
            if *ending.borrow() {
                return None;
            }
            tokio::select! {
                () = self.grown.notified() => {}
                () = ended(ending) => {}
            }
        }
        let full = async {
            while self.lock().is_less_than(most, self.limits.batch_bytes) {
                self.grown.notified().await;
            }
        };
        tokio::select! {
            () = full => {}
            () = sleep(linger) => {}
            () = ended(ending) => {}
        }
        Some(self.take(most))
    }

    /// Ends the batch in flight: the receiver accepted it or rejected it for good.
    pub fn settle(&self) {
        self.lock().in_flight = (0, 0);
    }

    /// Returns the batch in flight to the front of the backlog.
    pub fn put_back(&self, batch: Vec<Bytes>) {
        let mut waiting = self.lock();
        waiting.bytes += waiting.in_flight.1;
        waiting.in_flight = (0, 0);
        for record in batch.into_iter().rev() {
            waiting.records.push_front(record);
        }
    }

    /// Returns the number of records that were dropped from a full backlog.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the number of records that have not arrived, in-flight ones included.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let waiting = self.lock();
        waiting.records.len() + waiting.in_flight.0
    }

    fn take(&self, most: usize) -> Vec<Bytes> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let fits = |record: &&Bytes| {
            bytes += record.len();
            bytes <= self.limits.batch_bytes
        };
        let count = waiting.records.iter().take(most).take_while(fits).count().max(1);
        let count = count.min(waiting.records.len());
        let batch: Vec<Bytes> = waiting.records.drain(..count).collect();
        let bytes = batch.iter().map(Bytes::len).sum();
        waiting.bytes -= bytes;
        waiting.in_flight = (count, bytes);
        batch
    }

    /// Drops the oldest waiting records until the limits hold. Records in flight are never dropped.
    fn make_room(&self, waiting: &mut RecordBuffer) {
        let (records, bytes) = waiting.in_flight;
        while waiting.records.len() + records > self.limits.records
            || waiting.bytes + bytes > self.limits.bytes
        {
            let Some(oldest) = waiting.records.pop_front() else { break };
            waiting.bytes -= oldest.len();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, RecordBuffer> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordBuffer {
    fn is_less_than(&self, records: usize, bytes: usize) -> bool {
        self.records.len() < records && self.bytes < bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Bytes {
        Bytes::from(vec![n; 10])
    }

    fn backlog(records: usize, bytes: usize) -> Backlog {
        Backlog::new(BacklogLimits { records, bytes, batch: 2, batch_bytes: 1000 })
    }

    #[tokio::test]
    async fn a_full_backlog_drops_and_counts_the_oldest() {
        for backlog in [backlog(3, 1000), backlog(100, 30)] {
            (0..5).for_each(|n| backlog.push(record(n)));
            assert_eq!((backlog.unsent(), backlog.dropped()), (3, 2));
            let (_sender, mut ending) = watch::channel(false);
            let batch = backlog.batch(9, Duration::from_secs(60), &mut ending).await;
            assert_eq!(batch, Some(vec![record(2), record(3)]));
        }
    }

    #[tokio::test]
    async fn records_in_flight_count_and_return_as_the_oldest() {
        for backlog in [backlog(3, 1000), backlog(100, 30)] {
            let (sender, mut ending) = watch::channel(false);
            (0..2).for_each(|n| backlog.push(record(n)));
            let batch = backlog.batch(9, Duration::ZERO, &mut ending).await.expect("two");
            (2..4).for_each(|n| backlog.push(record(n)));
            assert_eq!((backlog.unsent(), backlog.dropped()), (3, 1));
            backlog.put_back(batch);
            assert_eq!((backlog.unsent(), backlog.dropped()), (3, 1));
            sender.send_replace(true);
            let long = Duration::from_secs(60);
            assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(0), record(1)]));
            backlog.settle();
            assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(3)]));
            backlog.settle();
            assert_eq!(backlog.batch(9, long, &mut ending).await, None);
            assert_eq!(backlog.unsent(), 0);
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_but_has_one_record_of_any_size() {
        let backlog = Backlog::new(BacklogLimits { records: 100, bytes: 1000, batch: 50, batch_bytes: 25 });
        let (_sender, mut ending) = watch::channel(false);
        (0..3).for_each(|n| backlog.push(record(n)));
        backlog.push(Bytes::from(vec![9; 70]));
        let long = Duration::from_secs(60);
        // The batch is full, so it does not wait for `linger`.
        assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(0), record(1)]));
        assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(2)]));
        assert_eq!(backlog.batch(9, long, &mut ending).await.map(|batch| batch.len()), Some(1));
        (0..3).for_each(|n| backlog.push(record(n)));
        assert_eq!(backlog.batch(1, long, &mut ending).await, Some(vec![record(0)]));
    }
}
