//! Watch log: the last lines of the stream, bounded, for subscribers over HTTP. Subscribers read by line number at their own
//! pace. A slow subscriber learns how many lines it missed, and delays nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use portolan_report::facts::{Facts, OwnedFacts};
use portolan_report::filter::Filter;
use portolan_report::wire::Report;
use tokio::sync::watch;

use super::connection_lines::ConnectionBatch;

/// Maximum size of the log in bytes.
const MAX_BYTES: usize = 2 << 20;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedLine {
    pub number: u64,
    /// Kind of the object.
    pub kind: &'static str,
    /// JSON without the newline.
    pub json: Bytes,
}

/// A line with the facts that filters match.
#[derive(Debug)]
struct Entry {
    line: LoggedLine,
    facts: OwnedFacts,
    /// Memory of the entry in bytes.
    bytes: usize,
}

/// The next lines of a subscriber.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of lines that were dropped before they were read.
    pub missed: u64,
    pub lines: Vec<LoggedLine>,
    /// Number of the line to read next.
    pub next: u64,
}

/// A client of the log. It counts as a subscriber until `growth` is dropped.
#[derive(Debug)]
pub struct Subscription {
    /// Changes with each new line.
    pub growth: watch::Receiver<u64>,
    /// Number of the line to read first.
    pub next: u64,
    /// True if the client cannot resume after its event id, and must list again.
    pub reset: bool,
}

/// The kept lines.
#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Number of the next line.
    next: u64,
}

/// The log. The pipeline writes, and each subscriber reads.
#[derive(Debug)]
pub struct WatchLog {
    /// Distinguishes the event ids of this run of the agent from those of other runs.
    epoch: u64,
    capacity: usize,
    ring: Mutex<Ring>,
    grown: watch::Sender<u64>,
}

impl WatchLog {
    /// Creates a log of at most `capacity` lines. `epoch` must differ between runs of the agent; its start time does.
    #[must_use]
    pub fn new(epoch: u64, capacity: usize) -> Self {
        Self { epoch, capacity, ring: Mutex::default(), grown: watch::Sender::new(0) }
    }

    /// Appends a report and its line. Drops the oldest lines beyond the limits.
    pub fn publish(&self, report: &Report, line: &Bytes) {
        let json = line.slice(..line.len() - usize::from(line.ends_with(b"\n")));
        let facts = OwnedFacts::of(&Facts::of_report(report));
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.append(json, facts, self.capacity);
        let next = ring.next;
        drop(ring);
        self.grown.send_replace(next);
    }

    /// Appends many connections at once. Their lines share one buffer, freed with the last of them.
    pub fn publish_connections(&self, lines: &ConnectionBatch) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for (range, connection) in &lines.each {
            let json = lines.bytes.slice(range.clone());
            ring.append(json, OwnedFacts::Connection(Arc::clone(connection)), self.capacity);
        }
        let next = ring.next;
        drop(ring);
        self.grown.send_replace(next);
    }

    /// Returns the number of subscribers.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.grown.receiver_count()
    }

    /// Subscribes a client after the event `last_id`, or at the end of the log. `None` if there are `max` subscribers
    /// already. The position is fixed before the subscriber counts, and the count is compared after: subscriptions are
    /// serialised, so the limit is exact.
    #[must_use]
    pub fn subscribe(&self, last_id: Option<&str>, max: usize) -> Option<Subscription> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let resumed = last_id.map(|id| self.number_after(id, &ring));
        let next = resumed.flatten().unwrap_or(ring.next);
        let growth = self.grown.subscribe();
        if self.subscribers() > max {
            // Before the lock is released: a rejected client must not count for the next one.
            drop(growth);
            return None;
        }
        drop(ring);
        Some(Subscription { growth, next, reset: resumed == Some(None) })
    }

    /// Returns the id of the last line; empty if there was none.
    #[must_use]
    pub fn last_id(&self) -> String {
        let next = self.ring.lock().unwrap_or_else(PoisonError::into_inner).next;
        next.checked_sub(1).map(|last| self.id(last)).unwrap_or_default()
    }

    /// Formats a number of this run of the agent for event ids and entity tags.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// Parses the number in `id`. `None` if it is of another run.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let is_ours = u64::from_str_radix(epoch, 16) == Ok(self.epoch);
        number.parse().ok().filter(|_| is_ours)
    }

    /// Returns the number after the event `id`. `None` if the event is of another run, or the next line was dropped already.
    fn number_after(&self, id: &str, ring: &Ring) -> Option<u64> {
        let next = self.number(id)?.checked_add(1)?;
        (next >= ring.oldest() && next <= ring.next).then_some(next)
    }

    /// Reads the lines from `from` on that match the filter, up to `max_bytes`, but at least one line.
    #[must_use]
    pub fn read(&self, from: u64, max_bytes: usize, filter: &Filter) -> Batch {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.oldest();
        let start = from.max(oldest);
        let skip = usize::try_from(start - oldest).unwrap_or(usize::MAX);
        let mut batch = Batch { missed: start - from, lines: Vec::new(), next: start };
        let mut bytes = 0_usize;
        for entry in ring.entries.iter().skip(skip) {
            if bytes >= max_bytes {
                break;
            }
            batch.next = entry.line.number + 1;
            if filter.lets_through(&entry.facts.borrow()) {
                bytes = bytes.saturating_add(entry.line.json.len());
                batch.lines.push(entry.line.clone());
            }
        }
        batch
    }
}

impl Ring {
    /// Appends a line, and drops the oldest lines beyond the limits.
    fn append(&mut self, json: Bytes, facts: OwnedFacts, capacity: usize) {
        let bytes = size_of::<Entry>() + json.len() + facts.heap_bytes();
        let line = LoggedLine { number: self.next, kind: facts.kind(), json };
        self.next += 1;
        self.bytes += bytes;
        self.entries.push_back(Entry { line, facts, bytes });
        while self.entries.len() > capacity || self.bytes > MAX_BYTES {
            let Some(old) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }

    /// Returns the number of the oldest kept line, or of the next line if there is none.
    fn oldest(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.line.number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use portolan_report::wire::{Envelope, Loss};

    use super::*;

    fn loss() -> Report {
        let envelope =
            Envelope { schema: String::new(), cluster: None, node: String::new(), time: String::new() };
        Report::Loss(Loss { envelope, reason: "ring-full".to_owned(), count: 1, recovered: false })
    }

    #[test]
    fn a_subscriber_that_is_counted_misses_no_later_line() {
        for _ in 0..200 {
            let log = WatchLog::new(1, 10);
            std::thread::scope(|scope| {
                let subscribing = scope.spawn(|| log.subscribe(None, 1).expect("a subscription"));
                while log.subscribers() == 0 {
                    std::hint::spin_loop();
                }
                log.publish(&loss(), &Bytes::from_static(b"{}\n"));
                let subscription = subscribing.join().expect("a subscriber");
                let batch = log.read(subscription.next, usize::MAX, &Filter::default());
                assert_eq!((batch.missed, batch.lines.len()), (0, 1));
            });
        }
    }

    #[test]
    fn subscribers_at_the_same_moment_keep_to_the_limit() {
        const MAX: usize = 3;
        for _ in 0..50 {
            let log = WatchLog::new(1, 10);
            let start = Barrier::new(2 * MAX);
            let admitted = std::thread::scope(|scope| {
                let subscribe = || {
                    start.wait();
                    log.subscribe(None, MAX)
                };
                let tasks: Vec<_> = (0..2 * MAX).map(|_| scope.spawn(subscribe)).collect();
                let all = tasks.into_iter().map(|task| task.join().expect("a subscriber"));
                all.flatten().collect::<Vec<_>>()
            });
            assert_eq!((admitted.len(), log.subscribers()), (MAX, MAX));
        }
    }
}
