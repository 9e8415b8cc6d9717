//! Records that have not arrived yet: bounded in number and bytes, the oldest goes first, and whoever adds never waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::ended;

/// What may wait, or be on its way.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub records: usize,
    pub bytes: usize,
    /// Records of one request,
    pub batch: usize,
    /// and their bytes, unless a single one has more.
    pub batch_bytes: usize,
}

impl Room {
    pub const DEFAULT: Self = Self { records: 4096, bytes: 8 << 20, batch: 512, batch_bytes: 512 << 10 };
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
    /// Taken, and not settled yet: records and bytes.
    in_flight: (usize, usize),
}

/// Written by the agent's loop, read by one task.
#[derive(Debug)]
pub struct Backlog {
    room: Room,
    waiting: Mutex<Waiting>,
    grown: Notify,
    dropped: AtomicU64,
}

impl Backlog {
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self { room, waiting: Mutex::default(), grown: Notify::new(), dropped: AtomicU64::new(0) }
    }

    /// Adds a record; where there is no room the oldest that waits goes and is counted.
    pub fn push(&self, record: Bytes) {
        let mut waiting = self.lock();
        waiting.bytes += record.len();
        waiting.records.push_back(record);
        self.make_room(&mut waiting);
        drop(waiting);
        self.grown.notify_one();
    }

    /// Up to a batch of the oldest, `most` at most, once there are as many, the first has waited for `linger`, or the end is
    /// near. `None`: it is the end, and nothing is left. What is taken must be settled or put back.
    pub async fn batch(
        &self,
        most: usize,
        linger: Duration,
        ending: &mut watch::Receiver<bool>,
    ) -> Option<Vec<Bytes>> {
        let most = most.min(self.room.batch);
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
            while self.lock().is_less_than(most, self.room.batch_bytes) {
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

    /// What was taken has arrived, or never will.
    pub fn settle(&self) {
        self.lock().in_flight = (0, 0);
    }

    /// What was taken goes back to where it was.
    pub fn put_back(&self, batch: Vec<Bytes>) {
        let mut waiting = self.lock();
        waiting.bytes += waiting.in_flight.1;
        waiting.in_flight = (0, 0);
        for record in batch.into_iter().rev() {
            waiting.records.push_front(record);
        }
    }

    /// How many records went for want of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many have not arrived yet.
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
            bytes <= self.room.batch_bytes
        };
        let count = waiting.records.iter().take(most).take_while(fits).count().max(1);
        let count = count.min(waiting.records.len());
        let batch: Vec<Bytes> = waiting.records.drain(..count).collect();
        let bytes = batch.iter().map(Bytes::len).sum();
        waiting.bytes -= bytes;
        waiting.in_flight = (count, bytes);
        batch
    }

    fn make_room(&self, waiting: &mut Waiting) {
        let (records, bytes) = waiting.in_flight;
        while waiting.records.len() + records > self.room.records || waiting.bytes + bytes > self.room.bytes {
            let Some(oldest) = waiting.records.pop_front() else { break };
            waiting.bytes -= oldest.len();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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
        Backlog::new(Room { records, bytes, batch: 2, batch_bytes: 1000 })
    }

    #[tokio::test]
    async fn the_oldest_goes_for_want_of_room_and_is_counted() {
        for backlog in [backlog(3, 1000), backlog(100, 30)] {
            (0..5).for_each(|n| backlog.push(record(n)));
            assert_eq!((backlog.unsent(), backlog.dropped()), (3, 2));
            let (_sender, mut ending) = watch::channel(false);
            let batch = backlog.batch(9, Duration::from_secs(60), &mut ending).await;
            assert_eq!(batch, Some(vec![record(2), record(3)]));
        }
    }

    #[tokio::test]
    async fn what_is_on_its_way_takes_room_and_comes_back_as_the_oldest() {
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
    async fn a_batch_is_bounded_in_bytes_too_but_takes_one_whatever_it_has() {
        let backlog = Backlog::new(Room { records: 100, bytes: 1000, batch: 50, batch_bytes: 25 });
        let (_sender, mut ending) = watch::channel(false);
        (0..3).for_each(|n| backlog.push(record(n)));
        backlog.push(Bytes::from(vec![9; 70]));
        let long = Duration::from_secs(60);
        // It is full, so nothing waits for more.
        assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(0), record(1)]));
        assert_eq!(backlog.batch(9, long, &mut ending).await, Some(vec![record(2)]));
        assert_eq!(backlog.batch(9, long, &mut ending).await.map(|batch| batch.len()), Some(1));
        (0..3).for_each(|n| backlog.push(record(n)));
        assert_eq!(backlog.batch(1, long, &mut ending).await, Some(vec![record(0)]));
    }
}
