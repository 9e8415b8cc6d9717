//! The events of `/v1/watch`: the last ones in a ring, bounded in number and bytes. Followers read by number at their own pace; who
//! lags learns how many it missed, and who comes back too late must read everything anew.

use std::collections::VecDeque;

use bytes::Bytes;

/// Maximum number of events in the ring.
const MAX_EVENTS: usize = 4096;
/// Maximum size of the ring in bytes.
const MAX_BYTES: usize = 8 << 20;

/// Kind of an event with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A finding that changed.
    Finding,
    /// The status of an agent.
    AgentStatus,
    /// Losses of an agent.
    Loss,
    /// The summary of an agent that changed.
    Agent,
    /// The rows of a node changed as a whole.
    Lost,
}

impl Kind {
    /// Returns the name of the event.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Finding => "Finding",
            Self::AgentStatus => "AgentStatus",
            Self::Loss => "Loss",
            Self::Agent => "Agent",
            Self::Lost => "lost",
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) kind: Kind,
    /// A JSON object in one line.
    pub(super) data: Bytes,
}

/// The next events of a follower.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Number of events that were dropped before they were read.
    pub(super) missed: u64,
    pub(super) events: Vec<Event>,
    /// Number of the event to read next.
    pub(super) next: u64,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Events {
    /// Tells the ids of this run of the command from those of another.
    epoch: u64,
    ring: VecDeque<Event>,
    bytes: usize,
    /// Number of the next event.
    next: u64,
}

impl Events {
    /// Creates an empty ring. `epoch` must differ between runs.
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, ring: VecDeque::new(), bytes: 0, next: 0 }
    }

    /// Adds an event. Drops the oldest beyond the limits.
    pub(super) fn push(&mut self, kind: Kind, data: Bytes) {
        self.bytes += data.len();
        self.ring.push_back(Event { number: self.next, kind, data });
        self.next += 1;
        while self.ring.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.bytes -= oldest.data.len();
        }
    }

    /// Returns the number of the next event.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Returns the id of an event.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// Returns the id of the last event before this number.
    pub(super) fn id_before(&self, next: u64) -> Option<String> {
        next.checked_sub(1).map(|last| self.id(last))
    }

    /// Returns the number after the event with this id. `None` if it is of another run, or events after it were dropped.
    pub(super) fn after(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let is_ours = u64::from_str_radix(epoch, 16) == Ok(self.epoch);
        let next = number.parse::<u64>().ok().filter(|_| is_ours)?.checked_add(1)?;
        (next >= self.oldest() && next <= self.next).then_some(next)
    }

    /// Returns the events from a number on: at most `max_bytes` of them, but at least one if there is one.
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Batch {
        let start = from.max(self.oldest());
        let skip = usize::try_from(start - self.oldest()).unwrap_or(usize::MAX);
        let mut batch = Batch { missed: start - from, events: Vec::new(), next: start };
        let mut bytes = 0;
        for event in self.ring.iter().skip(skip) {
            if bytes >= max_bytes {
                break;
            }
            bytes += event.data.len();
            batch.next = event.number + 1;
            batch.events.push(event.clone());
        }
        batch
    }

    fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.next, |event| event.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: usize, size: usize) -> Events {
        let mut events = Events::new(0xabc);
        for _ in 0..count {
            events.push(Kind::Finding, Bytes::from(vec![b'x'; size]));
        }
        events
    }

    #[test]
    fn a_follower_goes_on_where_it_was_and_learns_what_it_missed() {
        let events = ring(MAX_EVENTS + 10, 1);
        let oldest = events.oldest();
        assert_eq!(oldest, 10);
        assert_eq!(events.read(3, usize::MAX).missed, 7);
        assert_eq!(events.read(oldest, 2).events.len(), 2);
        assert_eq!(events.after("abc-9"), Some(10));
        assert_eq!(events.after(&events.id(events.next() - 1)), Some(events.next()));
        for id in ["abc-8", "abd-20", "abc-99999", "abc", "-", "", "abc-18446744073709551615"] {
            assert_eq!(events.after(id), None, "{id}");
        }
        let end = events.read(events.next(), usize::MAX);
        assert_eq!((end.missed, end.events.len(), end.next), (0, 0, events.next()));
    }

    #[test]
    fn large_events_push_out_older_ones() {
        let events = ring(10, MAX_BYTES / 4);
        assert!(events.bytes <= MAX_BYTES && events.ring.len() == 4, "{}", events.ring.len());
    }
}
