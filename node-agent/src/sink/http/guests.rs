//! Who is connected: bounded, and each address for itself. One who comes when every place is taken gets that of whoever
//! says nothing longest, so that the silent and the slow cannot keep others out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::Bounds;

/// The connections of one endpoint.
#[derive(Debug, Default)]
pub struct Guests {
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    /// In the order of arrival.
    taken: BTreeMap<u64, Guest>,
    next: u64,
}

#[derive(Debug)]
struct Guest {
    /// `None`: on a unix socket.
    source: Option<IpAddr>,
    /// Requests that are being answered.
    answering: Arc<AtomicUsize>,
    /// `None` until it is served.
    task: Option<AbortHandle>,
}

/// A connection's place, free again when this goes.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    guests: Arc<Guests>,
    answering: Arc<AtomicUsize>,
}

/// Lives while a request is answered.
#[derive(Debug)]
pub struct Answering(Arc<AtomicUsize>);

impl Guests {
    /// A place for a newcomer; `None` where all are taken by those who are being answered.
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>, bounds: &Bounds) -> Option<Seat> {
        let source = source.map(|address| address.to_canonical());
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = seats.taken.values().filter(|guest| source.is_some() && guest.source == source).count();
        let is_admitted = if mine >= bounds.per_source {
            seats.dismiss_idle(|guest| guest.source == source)
        } else {
            seats.taken.len() < bounds.connections || seats.dismiss_idle(|_| true)
        };
        if !is_admitted {
            return None;
        }
        let number = seats.next;
        seats.next += 1;
        let answering = Arc::default();
        let guest = Guest { source, answering: Arc::clone(&answering), task: None };
        seats.taken.insert(number, guest);
        Some(Seat { number, guests: Arc::clone(self), answering })
    }

    /// Tells which task serves the guest in seat `number`.
    pub fn served_by(&self, number: u64, task: AbortHandle) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = seats.taken.get_mut(&number) {
            guest.task = Some(task);
        }
    }
}

impl Seats {
    /// Ends the oldest of these connections that is not being answered; false if there is none.
    fn dismiss_idle(&mut self, of: impl Fn(&Guest) -> bool) -> bool {
        let is_idle = |guest: &Guest| guest.answering.load(Ordering::Relaxed) == 0;
        let oldest = self.taken.iter().find(|(_, guest)| of(guest) && is_idle(guest));
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(task) = self.taken.remove(&number).and_then(|guest| guest.task) {
            task.abort();
        }
        true
    }
}

impl Seat {
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Keep it until the answer is written.
    #[must_use]
    pub fn answering(&self) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(&self.answering))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.guests.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.taken.remove(&self.number);
    }
}

impl Drop for Answering {
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
    fn one_address_cannot_take_every_place() {
        let guests = Arc::new(Guests::default());
        let first = guests.admit(address(1), &BOUNDS).expect("room");
        let second = guests.admit(address(1), &BOUNDS).expect("room");
        let (busy, also_busy) = (first.answering(), second.answering());
        assert!(guests.admit(address(1), &BOUNDS).is_none());
        let other = guests.admit(address(2), &BOUNDS).expect("room");
        drop((busy, also_busy, other));
        assert!(guests.admit(address(1), &BOUNDS).is_some());
    }

    #[test]
    fn the_oldest_who_says_nothing_makes_room() {
        let guests = Arc::new(Guests::default());
        let seats: Vec<Seat> =
            (1..=3).map(|last| guests.admit(address(last), &BOUNDS).expect("room")).collect();
        let _busy = seats[0].answering();
        let _newcomer = guests.admit(address(4), &BOUNDS).expect("room");
        let taken: Vec<u64> = guests.seats.lock().expect("lock").taken.keys().copied().collect();
        assert_eq!(taken, [0, 2, 3]);
    }
}
