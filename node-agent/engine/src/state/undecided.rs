//! Facts about connections of ports for which it is not decided yet whether connections are recorded. The kernel records
//! from the moment a port opens, and the pod of the port, which decides, may be known later.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::connection::ConnectionFact;
use crate::model::identity::{BootTime, PortId};
use crate::model::pod::PodRef;

/// How long a fact waits for the decision. Longer than a port waits for its pod, and a redirected port for its first
/// drain before that.
const LIFE: Duration = Duration::from_secs(10);

/// Maximum number of closed ports that are remembered.
const MAX_CLOSED: usize = 1_024;

/// A recorded port that closed. Its connections may outlive it.
#[derive(Clone, Debug)]
pub(crate) struct ClosedPort {
    /// Numeric id of its listener.
    pub listener_id: u64,
    /// The pod that served it.
    pub pod: Option<Arc<PodRef>>,
}

/// Facts that wait, bounded, and the recorded ports that closed last.
#[derive(Debug)]
pub(crate) struct UndecidedConnections {
    waiting: HashMap<PortId, Vec<ConnectionFact>>,
    /// When the facts of a port expire. A port has at most one entry.
    expiries: VecDeque<(BootTime, PortId)>,
    /// Number of waiting facts.
    count: usize,
    /// Maximum number of waiting facts.
    max: usize,
    /// Ports with waiting facts that are decided.
    decided: Vec<PortId>,
    closed: HashMap<PortId, ClosedPort>,
    closed_order: VecDeque<PortId>,
}

impl UndecidedConnections {
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            expiries: VecDeque::new(),
            count: 0,
            max,
            decided: Vec::new(),
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
        }
    }

    /// Keeps a fact until its port is decided. Returns false if there is no room.
    pub(crate) fn keep(&mut self, port: PortId, fact: &ConnectionFact, now: BootTime) -> bool {
        if self.count >= self.max {
            return false;
        }
        self.count = self.count.saturating_add(1);
        let facts = self.waiting.entry(port).or_insert_with(|| {
            self.expiries.push_back((now.after(LIFE), port));
            Vec::new()
        });
        facts.push(fact.clone());
        true
    }

    /// Notes that a port is decided.
    pub(crate) fn decide(&mut self, port: PortId) {
        if self.waiting.contains_key(&port) {
            self.decided.push(port);
        }
    }

    /// Takes the facts of the next port that is decided.
    pub(crate) fn next_decided(&mut self) -> Option<Vec<ConnectionFact>> {
        while let Some(port) = self.decided.pop() {
            if let Some(facts) = self.take(port) {
                self.expiries.retain(|(_, one)| *one != port);
                return Some(facts);
            }
        }
        None
    }

    /// Forgets the facts of a port that ends undecided.
    pub(crate) fn discard(&mut self, port: PortId) {
        if self.take(port).is_some() {
            self.expiries.retain(|(_, one)| *one != port);
        }
    }

    /// Remembers a recorded port that closed; the oldest is forgotten first.
    pub(crate) fn remember(&mut self, port: PortId, closed: ClosedPort) {
        if self.closed.insert(port, closed).is_none() {
            self.closed_order.push_back(port);
        }
        while self.closed_order.len() > MAX_CLOSED
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }

    /// Returns a recorded port that closed.
    #[must_use]
    pub(crate) fn closed(&self, port: PortId) -> Option<&ClosedPort> {
        self.closed.get(&port)
    }

    /// Returns when [`Self::sweep`] has something to forget next.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.expiries.front().map(|(at, _)| *at)
    }

    /// Forgets the facts of ports that did not turn out to be recorded.
    pub(crate) fn sweep(&mut self, now: BootTime) {
        while let Some((_, port)) = self.expiries.pop_front_if(|(at, _)| *at <= now) {
            self.take(port);
        }
    }

    fn take(&mut self, port: PortId) -> Option<Vec<ConnectionFact>> {
        let facts = self.waiting.remove(&port)?;
        self.count = self.count.saturating_sub(facts.len());
        Some(facts)
    }
}
