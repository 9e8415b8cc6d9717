//! Counts of ports for the event `Traffic`: read every two seconds while somebody follows them, once for all followers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_report::chart::{RowCounts, TrafficCounts};
use portolan_report::wire::SCHEMA;
use tokio::sync::{mpsc, oneshot, watch};

use super::query::{PortCounts, Query, TrafficSnapshot};

/// Interval between two reads.
const EVERY: Duration = Duration::from_secs(2);
/// Maximum number of rows of one event. More are several events, which bounds what a follower that reads slowly holds.
const ROWS: usize = 500;

/// The latest counts, and whether they are read.
#[derive(Debug)]
pub struct TrafficFeed {
    latest: watch::Sender<Option<Arc<TrafficSnapshot>>>,
    is_running: Mutex<bool>,
    /// Interval between two reads.
    every: Duration,
}

impl Default for TrafficFeed {
    fn default() -> Self {
        Self { latest: watch::Sender::new(None), is_running: Mutex::default(), every: EVERY }
    }
}

impl TrafficFeed {
    /// Follows the counts, and begins to read them if nobody did. The first ones are all that are known, or come soon.
    pub fn follow(self: &Arc<Self>, queries: &mpsc::Sender<Query>) -> TrafficFollower {
        let mut is_running = self.is_running();
        // Within the lock, so that the task counts this receiver before it ends.
        let mut latest = self.latest.subscribe();
        if !std::mem::replace(&mut *is_running, true) {
            // What was read for an earlier follower is old.
            self.latest.send_replace(None);
            tokio::spawn(Reading { feed: Arc::clone(self), has_ended: false }.run(queries.clone()));
        }
        drop(is_running);
        latest.mark_changed();
        TrafficFollower { latest, told: None }
    }

    #[cfg(test)]
    pub(super) fn every(every: Duration) -> Self {
        Self { every, ..Self::default() }
    }

    fn is_running(&self) -> MutexGuard<'_, bool> {
        self.is_running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads the counts.
struct Reading {
    feed: Arc<TrafficFeed>,
    /// True if another task can read since.
    has_ended: bool,
}

impl Drop for Reading {
    /// Lets the next follower begin to read again, also if the task broke off.
    fn drop(&mut self) {
        if !self.has_ended {
            *self.feed.is_running() = false;
        }
    }
}

impl Reading {
    async fn run(mut self, queries: mpsc::Sender<Query>) {
        loop {
            let (reply, answer) = oneshot::channel();
            match queries.try_send(Query::Traffic(reply)) {
                // The next read catches up.
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
                Ok(()) => {
                    if let Ok(snapshot) = answer.await {
                        self.feed.latest.send_replace(Some(Arc::new(snapshot)));
                    }
                }
            }
            tokio::time::sleep(self.feed.every).await;
            // Within the lock, so that nobody follows meanwhile.
            let mut is_running = self.feed.is_running();
            if self.feed.latest.receiver_count() == 0 {
                *is_running = false;
                self.feed.latest.send_replace(None);
                drop(is_running);
                self.has_ended = true;
                return;
            }
        }
    }
}

/// A follower, and what it was told.
#[derive(Debug)]
pub struct TrafficFollower {
    latest: watch::Receiver<Option<Arc<TrafficSnapshot>>>,
    told: Option<Arc<TrafficSnapshot>>,
}

impl TrafficFollower {
    /// Waits for counts. Pends for ever if they end.
    pub async fn changed(&mut self) {
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the rows that changed since the last call, as data of one or more events; none if nothing changed. The first
    /// counts are told even if there are no rows.
    pub fn events(&mut self) -> Vec<TrafficCounts> {
        let Some(latest) = self.latest.borrow_and_update().clone() else { return Vec::new() };
        let before = self.told.as_ref().map_or(&[][..], |told| &told.ports);
        let is_news = |port: &&PortCounts| {
            let known = before.binary_search_by_key(&port.fingerprint, |known| known.fingerprint);
            known.ok().and_then(|at| before.get(at)) != Some(*port)
        };
        let changed: Vec<&PortCounts> = latest.ports.iter().filter(is_news).collect();
        let mut events: Vec<TrafficCounts> =
            changed.chunks(ROWS).map(|ports| event(&latest, ports)).collect();
        if events.is_empty() && self.told.is_none() {
            events.push(event(&latest, &[]));
        }
        self.told = Some(latest);
        events
    }
}

fn event(snapshot: &TrafficSnapshot, ports: &[&PortCounts]) -> TrafficCounts {
    let converter = &snapshot.converter;
    let items = ports.iter().map(|port| RowCounts {
        fingerprint: format!("{:032x}", port.fingerprint),
        attempts: port.attempts,
        connections: port.connections,
        packets: port.packets,
        bytes: port.bytes,
        last_seen: converter.wall.rfc3339(port.last_seen),
    });
    TrafficCounts {
        schema: SCHEMA.to_owned(),
        time: converter.wall.rfc3339(converter.now),
        items: items.collect(),
    }
}

#[cfg(test)]
mod tests {
    use portolan_engine::model::identity::BootTime;

    use super::*;
    use crate::sink::convert::{Converter, Wall};

    fn snapshot(ports: &[(u128, u64)]) -> TrafficSnapshot {
        let converter = Converter { agent: "n".into(), wall: Wall { unix_ns_at_boot: 0 }, now: BootTime(1) };
        let ports = ports.iter().map(|(fingerprint, connections)| PortCounts {
            fingerprint: *fingerprint,
            connections: *connections,
            ..PortCounts::default()
        });
        TrafficSnapshot { converter, ports: ports.collect() }
    }

    fn told(events: Vec<TrafficCounts>) -> Vec<(String, u64)> {
        let items = events.into_iter().flat_map(|event| event.items);
        items.map(|item| (item.fingerprint.trim_start_matches('0').to_owned(), item.connections)).collect()
    }

    #[test]
    fn the_first_counts_are_all_and_later_ones_those_that_changed() {
        let feed = TrafficFeed::default();
        let mut follower = TrafficFollower { latest: feed.latest.subscribe(), told: None };
        assert!(follower.events().is_empty(), "nothing is read yet");
        feed.latest.send_replace(Some(Arc::new(snapshot(&[(1, 5), (3, 7)]))));
        assert_eq!(told(follower.events()), [("1".to_owned(), 5), ("3".to_owned(), 7)]);
        assert!(follower.events().is_empty());
        feed.latest.send_replace(Some(Arc::new(snapshot(&[(1, 5), (2, 1), (3, 8)]))));
        assert_eq!(told(follower.events()), [("2".to_owned(), 1), ("3".to_owned(), 8)]);
        let mut later = TrafficFollower { latest: feed.latest.subscribe(), told: None };
        assert_eq!(told(later.events()).len(), 3, "the first counts of another follower are all, too");
    }

    #[test]
    fn first_counts_without_rows_are_told_and_many_rows_are_several_events() {
        let feed = TrafficFeed::default();
        let mut follower = TrafficFollower { latest: feed.latest.subscribe(), told: None };
        feed.latest.send_replace(Some(Arc::new(snapshot(&[]))));
        assert_eq!(follower.events().len(), 1);
        let many: Vec<(u128, u64)> = (1..=ROWS as u128 + 1).map(|fingerprint| (fingerprint, 1)).collect();
        feed.latest.send_replace(Some(Arc::new(snapshot(&many))));
        let events = follower.events();
        assert_eq!(events.iter().map(|event| event.items.len()).collect::<Vec<_>>(), [ROWS, 1]);
    }

    #[tokio::test]
    async fn counts_are_read_only_while_somebody_follows() {
        let (queries, mut asked) = mpsc::channel(4);
        let every = Duration::from_millis(1);
        let feed = Arc::new(TrafficFeed { every, ..TrafficFeed::default() });
        let mut follower = feed.follow(&queries);
        let Some(Query::Traffic(reply)) = asked.recv().await else { panic!("no question") };
        reply.send(snapshot(&[(1, 1)])).expect("the task waits");
        while follower.events().is_empty() {
            follower.changed().await;
        }
        drop(follower);
        while *feed.is_running.lock().expect("a lock") {
            // A question from before the follower left may wait, and is not answered.
            while asked.try_recv().is_ok() {}
            tokio::time::sleep(every).await;
        }
        assert!(asked.try_recv().is_err(), "nobody follows");
        let _again = feed.follow(&queries);
        assert!(matches!(asked.recv().await, Some(Query::Traffic(_))));
    }

    #[tokio::test]
    async fn counts_are_read_again_for_the_next_follower_after_the_task_broke_off() {
        let (queries, mut asked) = mpsc::channel(4);
        let feed = Arc::new(TrafficFeed::every(Duration::from_millis(1)));
        *feed.is_running() = true;
        // As a panic does.
        drop(Reading { feed: Arc::clone(&feed), has_ended: false });
        let _follower = feed.follow(&queries);
        assert!(matches!(asked.recv().await, Some(Query::Traffic(_))));
    }
}
