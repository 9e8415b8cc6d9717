//! Limits concurrent connections, in total and per address. When full, evicts the oldest idle connection, so that silent
//! clients cannot keep others out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::Bounds;

/// The connections of one endpoint, and their limit.
#[derive(Debug, Default)]
pub struct ConnectionLimit {
    connections: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// By number, which is in the order of arrival.
    by_number: BTreeMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    /// Address of the client. `None` on a unix socket.
    source: Option<IpAddr>,
    /// Number of requests that are being answered.
    active_requests: Arc<AtomicUsize>,
    /// The task that serves the connection. `None` until it starts.
    task: Option<AbortHandle>,
}

/// The slot of one connection, freed on drop.
#[derive(Debug)]
pub struct Slot {
    number: u64,
    limit: Arc<ConnectionLimit>,
    active_requests: Arc<AtomicUsize>,
}

/// Marks its connection as active until it is dropped.
#[derive(Debug)]
pub struct ActiveRequest(Arc<AtomicUsize>);

impl ConnectionLimit {
    /// Admits a connection. When full, evicts the oldest idle one. `None` if every connection has an active request.
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>, bounds: &Bounds) -> Option<Slot> {
        let source = source.map(|address| address.to_canonical());
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = connections
            .by_number
            .values()
            .filter(|connection| source.is_some() && connection.source == source)
            .count();
        let is_admitted = if from_source >= bounds.per_source {
            connections.evict_idle(|connection| connection.source == source)
        } else {
            connections.by_number.len() < bounds.connections || connections.evict_idle(|_| true)
        };
        if !is_admitted {
            return None;
        }
        let number = connections.next;
        connections.next += 1;
        let active_requests = Arc::default();
        let connection = Connection { source, active_requests: Arc::clone(&active_requests), task: None };
        connections.by_number.insert(number, connection);
        Some(Slot { number, limit: Arc::clone(self), active_requests })
    }

    /// Sets the task that serves connection `number`, so that an eviction can abort it.
    pub fn served_by(&self, number: u64, task: AbortHandle) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.by_number.get_mut(&number) {
            connection.task = Some(task);
        }
    }
}

impl OpenConnections {
    /// Aborts the oldest idle connection that matches. Returns false if there is none.
    fn evict_idle(&mut self, of: impl Fn(&Connection) -> bool) -> bool {
        let is_idle = |connection: &Connection| connection.active_requests.load(Ordering::Relaxed) == 0;
        let oldest = self.by_number.iter().find(|(_, connection)| of(connection) && is_idle(connection));
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(task) = self.by_number.remove(&number).and_then(|connection| connection.task) {
            task.abort();
        }
        true
    }
}

impl Slot {
    /// Returns the number of the connection.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Marks the connection as active. Keep the result until the answer is written.
    #[must_use]
    pub fn begin_request(&self) -> ActiveRequest {
        self.active_requests.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(&self.active_requests))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut connections = self.limit.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.by_number.remove(&self.number);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connections: 3, per_source: 2, ..Bounds::TELEMETRY };

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn one_address_cannot_take_every_slot() {
        let limit = Arc::new(ConnectionLimit::default());
        let first = limit.admit(address(1), &BOUNDS).expect("room");
        let second = limit.admit(address(1), &BOUNDS).expect("room");
        let (busy, also_busy) = (first.begin_request(), second.begin_request());
        assert!(limit.admit(address(1), &BOUNDS).is_none());
        let other = limit.admit(address(2), &BOUNDS).expect("room");
        drop((busy, also_busy, other));
        assert!(limit.admit(address(1), &BOUNDS).is_some());
    }

    #[test]
    fn the_oldest_idle_connection_is_evicted() {
        let limit = Arc::new(ConnectionLimit::default());
        let slots: Vec<Slot> =
            (1..=3).map(|last| limit.admit(address(last), &BOUNDS).expect("room")).collect();
        let _busy = slots[0].begin_request();
        let _newcomer = limit.admit(address(4), &BOUNDS).expect("room");
        let taken: Vec<u64> = limit.connections.lock().expect("lock").by_number.keys().copied().collect();
        assert_eq!(taken, [0, 2, 3]);
    }
}
