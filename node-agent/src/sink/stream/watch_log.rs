//! The recent past of the stream, bounded, for those who follow it over HTTP. Followers read at their own pace by number;
//! one who falls behind the ring is told how much it missed, and nobody waits for anyone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use portolan_report::facts::{Facts, OwnedFacts};
use portolan_report::filter::Filter;
use portolan_report::wire::Report;
use tokio::sync::watch;

use super::connection_lines::Lines;

/// Bytes of lines that are kept at most.
const MAX_BYTES: usize = 2 << 20;

/// A line that a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedLine {
    pub number: u64,
    pub kind: &'static str,
    /// JSON without the newline.
    pub json: Bytes,
}

/// A line with what filters look at.
#[derive(Debug)]
struct Entry {
    line: LoggedLine,
    facts: OwnedFacts,
    /// What it costs to keep.
    bytes: usize,
}

/// What a follower reads next.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Lines that were gone before they could be read.
    pub missed: u64,
    pub lines: Vec<LoggedLine>,
    /// Where to read on.
    pub next: u64,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Number of the next line.
    next: u64,
}

/// The log. Written by the agent, read by every follower.
#[derive(Debug)]
pub struct WatchLog {
    /// Tells this run of the agent from any other, in event ids.
    epoch: u64,
    capacity: usize,
    ring: Mutex<Ring>,
    grown: watch::Sender<u64>,
}

impl WatchLog {
    /// `epoch` must differ from one start of the agent to the next: its start time does.
    #[must_use]
    pub fn new(epoch: u64, capacity: usize) -> Self {
        Self { epoch, capacity, ring: Mutex::default(), grown: watch::Sender::new(0) }
    }

    /// Appends a report and its line; what is too old goes.
    pub fn publish(&self, report: &Report, line: &Bytes) {
        let json = line.slice(..line.len() - usize::from(line.ends_with(b"\n")));
        let facts = OwnedFacts::of(&Facts::of_report(report));
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.append(json, facts, self.capacity);
        let next = ring.next;
        drop(ring);
        self.grown.send_replace(next);
    }

    /// Appends many connections at once. Their lines stay one piece of memory, which goes with the last of them.
    pub fn publish_connections(&self, lines: &Lines) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for (range, connection) in &lines.each {
            let json = lines.bytes.slice(range.clone());
            ring.append(json, OwnedFacts::Connection(Arc::clone(connection)), self.capacity);
        }
        let next = ring.next;
        drop(ring);
        self.grown.send_replace(next);
    }

    /// How many follow.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.grown.receiver_count()
    }

    /// The number that the next line gets.
    #[must_use]
    pub fn end(&self) -> u64 {
        *self.grown.borrow()
    }

    /// Changes whenever a line is added.
    #[must_use]
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Number `number` of this run of the agent, as event ids and entity tags write it.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// The number in `id`; `None` if it is of another run.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let is_ours = u64::from_str_radix(epoch, 16) == Ok(self.epoch);
        number.parse().ok().filter(|_| is_ours)
    }

    /// Where to go on after the event `id`; `None` if it is of another run, or its successor is gone already.
    #[must_use]
    pub fn resume(&self, id: &str) -> Option<u64> {
        let next = self.number(id)?.checked_add(1)?;
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (next >= ring.oldest() && next <= ring.next).then_some(next)
    }

    /// The lines from `from` on that the filter lets through, up to `most` bytes of them (one line at least).
    #[must_use]
    pub fn read(&self, from: u64, most: usize, filter: &Filter) -> Batch {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.oldest();
        let start = from.max(oldest);
        let skip = usize::try_from(start - oldest).unwrap_or(usize::MAX);
        let mut batch = Batch { missed: start - from, lines: Vec::new(), next: start };
        let mut bytes = 0_usize;
        for entry in ring.entries.iter().skip(skip) {
            if bytes >= most {
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

    /// Number of the oldest line that is kept, or of the next.
    fn oldest(&self) -> u64 {
        self.entries.front().map_or(self.next, |entry| entry.line.number)
    }
}
