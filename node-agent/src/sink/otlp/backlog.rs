//! Records that wait for the receiver: bounded in number and bytes, the oldest goes first, and whoever adds never waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::ended;

/// What may wait.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub records: usize,
    pub bytes: usize,
    /// Records of one request.
    pub batch: usize,
}

impl Room {
    pub const DEFAULT: Self = Self { records: 4096, bytes: 8 << 20, batch: 512 };
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
    /// Taken, and not settled yet.
    in_flight: usize,
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

    /// Adds a record; where there is no room the oldest goes and is counted.
    pub fn push(&self, record: Bytes) {
        let mut waiting = self.lock();
        waiting.bytes += record.len();
        waiting.records.push_back(record);
        self.make_room(&mut waiting);
        drop(waiting);
        self.grown.notify_one();
    }

    /// Up to a batch of the oldest, once there are as many, the first has waited for `linger`, or the end is near. `None`:
    /// it is the end, and nothing is left. What is taken must be settled or put back.
    pub async fn batch(&self, linger: Duration, ending: &mut watch::Receiver<bool>) -> Option<Vec<Bytes>> {
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
            while self.lock().records.len() < self.room.batch {
                self.grown.notified().await;
            }
        };
        tokio::select! {
            () = full => {}
            () = sleep(linger) => {}
            () = ended(ending) => {}
        }
        Some(self.take())
    }

    /// What was taken has arrived, or never will.
    pub fn settle(&self) {
        self.lock().in_flight = 0;
    }

    /// What was taken goes back to where it was; if there is no room any more, it is the oldest of it that goes.
    pub fn put_back(&self, batch: Vec<Bytes>) {
        let mut waiting = self.lock();
        waiting.in_flight = 0;
        for record in batch.into_iter().rev() {
            waiting.bytes += record.len();
            waiting.records.push_front(record);
        }
        self.make_room(&mut waiting);
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
        waiting.records.len() + waiting.in_flight
    }

    fn take(&self) -> Vec<Bytes> {
        let mut waiting = self.lock();
        let count = waiting.records.len().min(self.room.batch);
        let batch: Vec<Bytes> = waiting.records.drain(..count).collect();
        waiting.bytes -= batch.iter().map(Bytes::len).sum::<usize>();
        waiting.in_flight = batch.len();
        batch
    }

    fn make_room(&self, waiting: &mut Waiting) {
        while waiting.records.len() > self.room.records || waiting.bytes > self.room.bytes {
            let Some(oldest) = waiting.records.pop_front() else { break };
            waiting.bytes -= oldest.len();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Bytes {
        Bytes::from(vec![n; 10])
    }

    fn backlog(records: usize, bytes: usize) -> Backlog {
        Backlog::new(Room { records, bytes, batch: 2 })
    }

    #[tokio::test]
    async fn the_oldest_goes_for_want_of_room_and_is_counted() {
        for backlog in [backlog(3, 1000), backlog(100, 30)] {
            (0..5).for_each(|n| backlog.push(record(n)));
            assert_eq!((backlog.unsent(), backlog.dropped()), (3, 2));
            let (_sender, mut ending) = watch::channel(false);
            let batch = backlog.batch(Duration::from_secs(60), &mut ending).await;
            assert_eq!(batch, Some(vec![record(2), record(3)]));
        }
    }

    #[tokio::test]
    async fn what_comes_back_is_the_oldest_again() {
        let backlog = backlog(3, 1000);
        let (sender, mut ending) = watch::channel(false);
        (0..2).for_each(|n| backlog.push(record(n)));
        let batch = backlog.batch(Duration::ZERO, &mut ending).await.expect("two");
        (2..4).for_each(|n| backlog.push(record(n)));
        assert_eq!(backlog.unsent(), 4);
        backlog.put_back(batch);
        assert_eq!((backlog.unsent(), backlog.dropped()), (3, 1));
        sender.send_replace(true);
        assert_eq!(backlog.batch(Duration::ZERO, &mut ending).await, Some(vec![record(1), record(2)]));
        backlog.settle();
        assert_eq!(backlog.batch(Duration::from_secs(60), &mut ending).await, Some(vec![record(3)]));
        backlog.settle();
        assert_eq!(backlog.batch(Duration::from_secs(60), &mut ending).await, None);
        assert_eq!(backlog.unsent(), 0);
    }
}
