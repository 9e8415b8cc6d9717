//! The latest connections on recorded ports, bounded; the oldest is evicted first. A connection that ends within the
//! hold is reported once, any other when it opens and when it ends.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::connection::{Connection, ConnectionList, ListedConnection};
use crate::model::identity::{BootTime, NetnsId, SocketCookie};
use crate::state::undecided::UndecidedConnections;

/// How long the record of an end is waited for after a list showed that the connection ended.
const END_HOLD: Duration = Duration::from_secs(2);

/// One connection, and whether it was reported in any state.
#[derive(Debug)]
struct RecordedConnection {
    connection: Arc<Connection>,
    /// True if the connection was reported as open or ended.
    is_reported: bool,
    /// True if the connection ended unobserved. A record of the end, if it still arrives, is exact.
    is_end_assumed: bool,
}

impl RecordedConnection {
    const fn new(connection: Arc<Connection>, is_reported: bool) -> Self {
        Self { connection, is_reported, is_end_assumed: false }
    }
}

/// Recorded connections.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    /// Connections in the order in which they were first recorded.
    order: VecDeque<SocketCookie>,
    all: HashMap<SocketCookie, RecordedConnection>,
    /// Connections that may not be reported yet, with their deadline.
    held: VecDeque<(BootTime, SocketCookie)>,
    /// Maximum number of connections.
    max: usize,
    /// How long an open connection is held back before it is reported.
    hold: Duration,
    /// Connections that are not open any more although no record of the end arrived: until when it may, and when the
    /// connection had ended for certain.
    missed: VecDeque<(BootTime, SocketCookie, BootTime)>,
    /// Facts of ports that are not decided yet.
    pub(crate) undecided: UndecidedConnections,
}

impl ConnectionTable {
    #[must_use]
    pub(crate) fn new(max: usize, hold: Duration) -> Self {
        Self {
            order: VecDeque::new(),
            all: HashMap::new(),
            held: VecDeque::new(),
            max,
            hold,
            missed: VecDeque::new(),
            undecided: UndecidedConnections::new(max),
        }
    }

    /// Records an open connection, unless more is known about it. Returns what must be reported now: the connection
    /// if nothing is kept, or the evicted one.
    pub(crate) fn open(&mut self, cookie: SocketCookie, connection: Connection) -> Option<Arc<Connection>> {
        if self.max == 0 {
            return Some(Arc::new(connection));
        }
        if let Some(known) = self.all.get_mut(&cookie) {
            // The record of the end arrived first, or a record arrived twice.
            if known.connection.opened_at > connection.opened_at {
                Arc::make_mut(&mut known.connection).opened_at = connection.opened_at;
            }
            return None;
        }
        self.held.push_back((connection.opened_at.after(self.hold), cookie));
        self.insert(cookie, RecordedConnection::new(Arc::new(connection), false))
    }

    /// Records the end of a connection; `whole` builds the connection if its beginning is not known. Returns what
    /// must be reported: an evicted connection and this one, or nothing if the end is known already.
    pub(crate) fn close(
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
            if known.connection.closed_at.is_some() && !known.is_end_assumed {
                return [None, None];
            }
            ended(Arc::make_mut(&mut known.connection));
            known.is_reported = true;
            known.is_end_assumed = false;
            return [Some(Arc::clone(&known.connection)), None];
        }
        let mut connection = whole();
        ended(&mut connection);
        let connection = Arc::new(connection);
        let gone = match self.max {
            0 => None,
            _ => self.insert(cookie, RecordedConnection::new(Arc::clone(&connection), true)),
        };
        [gone, Some(connection)]
    }

    /// Returns true if the connection is kept.
    #[must_use]
    pub(crate) fn contains(&self, cookie: SocketCookie) -> bool {
        self.all.contains_key(&cookie)
    }

    /// Applies the kernel's list of open connections: updates their bytes, and expects the ends of those that are older
    /// than the list and not in it.
    pub(crate) fn list(&mut self, list: &ConnectionList, now: BootTime) {
        let listed: HashMap<SocketCookie, &ListedConnection> =
            list.connections.iter().map(|listed| (listed.cookie, listed)).collect();
        let open = self.all.iter_mut().filter(|(_, known)| {
            known.connection.port.netns == list.netns && known.connection.closed_at.is_none()
        });
        for (cookie, known) in open {
            if let Some(listed) = listed.get(cookie) {
                let connection = Arc::make_mut(&mut known.connection);
                connection.bytes_in = connection.bytes_in.max(listed.bytes_in);
                connection.bytes_out = connection.bytes_out.max(listed.bytes_out);
            } else if known.connection.opened_at < list.at {
                self.missed.push_back((now.after(END_HOLD), *cookie, list.at));
            }
        }
    }

    /// Takes the next connection whose end was missed, ended when it was last expected to be open.
    pub(crate) fn next_missed(&mut self, now: BootTime) -> Option<Arc<Connection>> {
        while let Some((_, cookie, at)) = self.missed.pop_front_if(|(due, ..)| *due <= now) {
            let known = self.all.get_mut(&cookie).filter(|known| known.connection.closed_at.is_none());
            if let Some(known) = known {
                Arc::make_mut(&mut known.connection).closed_at = Some(at);
                known.is_reported = true;
                known.is_end_assumed = true;
                return Some(Arc::clone(&known.connection));
            }
        }
        None
    }

    /// Returns the netns with connections that have been open for at least `age`.
    pub(crate) fn netns_with_open(&self, age: Duration, now: BootTime) -> BTreeSet<NetnsId> {
        let open = self.all.values().map(|known| &known.connection);
        let open = open.filter(|known| known.closed_at.is_none() && known.opened_at.after(age) <= now);
        open.map(|known| known.port.netns).collect()
    }

    /// Returns true if a connection is open.
    #[must_use]
    pub(crate) fn has_open(&self) -> bool {
        self.all.values().any(|known| known.connection.closed_at.is_none())
    }

    /// Takes the next open connection whose hold is over and marks it as reported.
    pub(crate) fn next_overdue(&mut self, now: BootTime) -> Option<Arc<Connection>> {
        while let Some((_, cookie)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            if let Some(recorded) = self.all.get_mut(&cookie).filter(|recorded| !recorded.is_reported) {
                recorded.is_reported = true;
                return Some(Arc::clone(&recorded.connection));
            }
        }
        None
    }

    /// Returns when the next hold ends.
    pub(crate) fn next_due(&mut self) -> Option<BootTime> {
        let Self { held, all, .. } = self;
        let is_reported = |cookie: &SocketCookie| all.get(cookie).is_none_or(|recorded| recorded.is_reported);
        while held.pop_front_if(|(_, cookie)| is_reported(cookie)).is_some() {}
        let held = held.front().map(|(due, _)| *due);
        held.into_iter().chain(self.missed.front().map(|(due, ..)| *due)).min()
    }

    /// Returns the connections, latest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.order.iter().rev().filter_map(|cookie| self.all.get(cookie)).map(|recorded| &recorded.connection)
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a connection. Returns the evicted one if it was never reported.
    fn insert(&mut self, cookie: SocketCookie, recorded: RecordedConnection) -> Option<Arc<Connection>> {
        let oldest = if self.all.len() >= self.max { self.order.pop_front() } else { None };
        let gone = oldest.and_then(|oldest| self.all.remove(&oldest));
        self.order.push_back(cookie);
        self.all.insert(cookie, recorded);
        gone.filter(|gone| !gone.is_reported).map(|gone| gone.connection)
    }
}
