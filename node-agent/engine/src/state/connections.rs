//! The latest connections on recorded ports, bounded; the oldest is evicted first. A connection that ends within the
//! hold is reported once, any other when it opens and when it ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::connection::Connection;
use crate::model::identity::{BootTime, SocketCookie};

/// One connection, and whether anything of it was told.
#[derive(Debug)]
struct RecordedConnection {
    connection: Arc<Connection>,
    is_reported: bool,
}

/// Recorded connections in the order in which they were first heard of.
#[derive(Debug)]
pub struct ConnectionTable {
    order: VecDeque<SocketCookie>,
    all: HashMap<SocketCookie, RecordedConnection>,
    /// Those that may be untold, with when they will be told at the latest.
    held: VecDeque<(BootTime, SocketCookie)>,
    max: usize,
    hold: Duration,
}

impl ConnectionTable {
    #[must_use]
    pub fn new(max: usize, hold: Duration) -> Self {
        Self { order: VecDeque::new(), all: HashMap::new(), held: VecDeque::new(), max, hold }
    }

    /// Takes a connection that is open in, unless more is known of it. Returns what must be told now: it, or the one
    /// that had to go for it.
    pub fn open(&mut self, cookie: SocketCookie, connection: Connection) -> Option<Arc<Connection>> {
        if self.max == 0 {
            return Some(Arc::new(connection));
        }
        if let Some(known) = self.all.get_mut(&cookie) {
            // The record of the end came first, or a record came twice.
            if known.connection.opened_at > connection.opened_at {
                Arc::make_mut(&mut known.connection).opened_at = connection.opened_at;
            }
            return None;
        }
        self.held.push_back((connection.opened_at.after(self.hold), cookie));
        self.insert(cookie, RecordedConnection { connection: Arc::new(connection), is_reported: false })
    }

    /// Takes the end of a connection in; `whole` makes it where its beginning is not known. Returns what must be told:
    /// nothing if that is known already.
    pub fn close(
        &mut self,
        cookie: SocketCookie,
        end: (BootTime, u64, u64),
        whole: impl FnOnce() -> Connection,
    ) -> [Option<Arc<Connection>>; 2] {
        let ended = |connection: &mut Connection| {
            connection.closed_at = Some(end.0);
            (connection.bytes_in, connection.bytes_out) = (end.1, end.2);
            connection.opened_at = connection.opened_at.min(end.0);
        };
        if let Some(known) = self.all.get_mut(&cookie) {
            if known.connection.closed_at.is_some() {
                return [None, None];
            }
            ended(Arc::make_mut(&mut known.connection));
            known.is_reported = true;
            return [Some(Arc::clone(&known.connection)), None];
        }
        let mut connection = whole();
        ended(&mut connection);
        let connection = Arc::new(connection);
        let gone = match self.max {
            0 => None,
            _ => self.insert(
                cookie,
                RecordedConnection { connection: Arc::clone(&connection), is_reported: true },
            ),
        };
        [gone, Some(connection)]
    }

    /// Takes the next connection out of the hold that is open still and waited long enough.
    pub fn next_overdue(&mut self, now: BootTime) -> Option<Arc<Connection>> {
        while let Some((_, cookie)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            if let Some(recorded) = self.all.get_mut(&cookie).filter(|recorded| !recorded.is_reported) {
                recorded.is_reported = true;
                return Some(Arc::clone(&recorded.connection));
            }
        }
        None
    }

    /// When a connection will have waited long enough.
    pub fn next_due(&mut self) -> Option<BootTime> {
        let Self { held, all, .. } = self;
        let is_reported = |cookie: &SocketCookie| all.get(cookie).is_none_or(|recorded| recorded.is_reported);
        while held.pop_front_if(|(_, cookie)| is_reported(cookie)).is_some() {}
        held.front().map(|(due, _)| *due)
    }

    /// Latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.order.iter().rev().filter_map(|cookie| self.all.get(cookie)).map(|recorded| &recorded.connection)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the oldest if it had to go and was not told.
    fn insert(&mut self, cookie: SocketCookie, recorded: RecordedConnection) -> Option<Arc<Connection>> {
        let oldest = if self.all.len() >= self.max { self.order.pop_front() } else { None };
        let gone = oldest.and_then(|oldest| self.all.remove(&oldest));
        self.order.push_back(cookie);
        self.all.insert(cookie, recorded);
        gone.filter(|gone| !gone.is_reported).map(|gone| gone.connection)
    }
}
