//! The latest connections on recorded ports, bounded: the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::change::Connection;
use super::identity::{BootTime, SocketCookie};

/// Recorded connections in the order in which they were first heard of.
#[derive(Debug)]
pub struct ConnectionTable {
    order: VecDeque<SocketCookie>,
    all: HashMap<SocketCookie, Arc<Connection>>,
    max: usize,
}

impl ConnectionTable {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { order: VecDeque::new(), all: HashMap::new(), max }
    }

    /// Takes a connection in; false if that is known already, or older news than what is known.
    pub fn record(&mut self, cookie: SocketCookie, connection: &Arc<Connection>) -> bool {
        if let Some(known) = self.all.get(&cookie) {
            if known.closed_at.is_some()
                || (connection.closed_at.is_none() && known.opened_at >= connection.opened_at)
            {
                return false;
            }
        } else if self.max > 0 {
            if self.all.len() >= self.max
                && let Some(oldest) = self.order.pop_front()
            {
                self.all.remove(&oldest);
            }
            self.order.push_back(cookie);
        }
        if self.max > 0 {
            self.all.insert(cookie, Arc::clone(connection));
        }
        true
    }

    /// When this connection opened, if it is known.
    #[must_use]
    pub fn opened_at(&self, cookie: SocketCookie) -> Option<BootTime> {
        self.all.get(&cookie).map(|known| known.opened_at)
    }

    /// Latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.order.iter().rev().filter_map(|cookie| self.all.get(cookie))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
