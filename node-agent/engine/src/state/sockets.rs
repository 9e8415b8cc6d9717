//! Every socket as a register of facts ordered by their own time: the same facts give the same answer in any order.
//! Closed sockets stay as tombstones for 30 seconds, for events that come late.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId, PortId, SocketCookie};
use crate::model::process::Process;

/// How long a closed socket is remembered.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(30);

/// So much room is not worth giving back.
const SPARE: usize = 4096;

/// One statement that a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketFact {
    pub at: BootTime,
    pub port: PortId,
    pub address: IpAddr,
    pub v6_only: Option<bool>,
}

/// What the facts about a socket amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketView {
    pub port: PortId,
    pub address: IpAddr,
    pub v6_only: Option<bool>,
    /// `None` where only scans know it.
    pub opened_at: Option<BootTime>,
    /// Earliest time at which it is known to serve.
    pub first_at: BootTime,
    /// Latest scan that listed it.
    pub scanned_at: Option<BootTime>,
}

/// One socket.
#[derive(Debug)]
pub struct Socket {
    opened: Option<SocketFact>,
    scanned: Option<SocketFact>,
    first_scanned: Option<BootTime>,
    closed: Option<BootTime>,
    process: Option<(BootTime, Arc<Process>)>,
    /// The port that counts it among its sockets.
    pub counted_in: Option<PortId>,
    /// It is counted there as bound to something else than loopback.
    pub beyond_loopback: bool,
    /// The latest opening that was told.
    pub reported_open: Option<BootTime>,
    is_tombstone: bool,
}

impl Socket {
    const fn new() -> Self {
        Self {
            opened: None,
            scanned: None,
            first_scanned: None,
            closed: None,
            process: None,
            counted_in: None,
            beyond_loopback: false,
            reported_open: None,
            is_tombstone: false,
        }
    }

    pub fn open(&mut self, fact: SocketFact, process: Option<Arc<Process>>) {
        self.opened = self.opened.max(Some(fact));
        self.learn_process(fact.at, process);
    }

    pub fn list(&mut self, fact: SocketFact, process: Option<Arc<Process>>) {
        self.scanned = self.scanned.max(Some(fact));
        self.first_scanned = Some(self.first_scanned.map_or(fact.at, |first| first.min(fact.at)));
        self.learn_process(fact.at, process);
    }

    pub fn close(&mut self, at: BootTime) {
        self.closed = self.closed.max(Some(at));
    }

    /// It was settled with the scan of that moment.
    #[must_use]
    pub fn was_listed_at(&self, at: BootTime) -> bool {
        self.scanned.is_some_and(|scanned| scanned.at == at)
    }

    /// Latest time at which the socket is known to have ended; `floor` is its netns's.
    #[must_use]
    pub fn ended_at(&self, floor: BootTime) -> BootTime {
        self.closed.unwrap_or_default().max(floor)
    }

    /// When it began to serve, as far as is known, whether it still does or not.
    #[must_use]
    pub fn began_at(&self) -> Option<BootTime> {
        self.opened.map(|opened| opened.at).or(self.first_scanned)
    }

    #[must_use]
    pub fn process(&self) -> Option<&Arc<Process>> {
        self.process.as_ref().map(|(_, process)| process)
    }

    /// The socket if it serves: seen after it last closed, and not before the latest scan of its netns (`floor`).
    #[must_use]
    pub fn view(&self, floor: BootTime) -> Option<SocketView> {
        let latest = self.latest()?;
        let serves = latest.at >= floor && self.closed.is_none_or(|closed| latest.at > closed);
        serves.then(|| self.describe(latest))
    }

    /// A socket that opened and ended before it could be counted, unless that opening was told before.
    #[must_use]
    pub fn short_lived(&self, floor: BootTime) -> Option<SocketView> {
        let opened = self.opened?;
        let fresh = self.view(floor).is_none()
            && self.reported_open.is_none_or(|reported_open| reported_open < opened.at);
        fresh.then_some(SocketView {
            port: opened.port,
            address: opened.address,
            v6_only: opened.v6_only,
            opened_at: Some(opened.at),
            first_at: opened.at,
            scanned_at: None,
        })
    }

    fn latest(&self) -> Option<SocketFact> {
        match (self.opened, self.scanned) {
            (Some(opened), Some(scanned)) if opened.at > scanned.at => Some(opened),
            (opened, scanned) => scanned.or(opened),
        }
    }

    fn describe(&self, latest: SocketFact) -> SocketView {
        let alive = |at: BootTime| self.closed.is_none_or(|closed| at > closed);
        let opened = self.opened.filter(|opened| alive(opened.at) && opened.port == latest.port);
        let first_scanned = self.first_scanned.filter(|at| alive(*at)).unwrap_or(latest.at);
        let scanned = self.scanned.filter(|scanned| scanned.port == latest.port);
        SocketView {
            port: latest.port,
            address: latest.address,
            v6_only: scanned.and_then(|scanned| scanned.v6_only).or(latest.v6_only),
            opened_at: opened.map(|opened| opened.at),
            first_at: opened.map_or(first_scanned, |opened| opened.at),
            scanned_at: scanned.map(|scanned| scanned.at),
        }
    }

    fn learn_process(&mut self, at: BootTime, process: Option<Arc<Process>>) {
        let Some(process) = process else { return };
        let rank = |at: BootTime, p: &Process| (at, p.pid, p.name.clone());
        let newer = self.process.as_ref().is_none_or(|(known_at, known)| {
            at > *known_at || (at == *known_at && rank(at, &process) > rank(*known_at, known))
        });
        if newer {
            self.process = Some((at, process));
        }
    }
}

/// All sockets, bounded.
#[derive(Debug)]
pub struct SocketTable {
    /// Boxed: after a burst most of the table is empty.
    sockets: HashMap<SocketCookie, Box<Socket>>,
    /// Closed sockets by the time at which they are forgotten.
    tombstones: VecDeque<(BootTime, SocketCookie, NetnsId)>,
    max: usize,
}

impl SocketTable {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { sockets: HashMap::new(), tombstones: VecDeque::new(), max }
    }

    #[must_use]
    pub fn get(&self, cookie: SocketCookie) -> Option<&Socket> {
        self.sockets.get(&cookie).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, cookie: SocketCookie) -> Option<&mut Socket> {
        self.sockets.get_mut(&cookie).map(Box::as_mut)
    }

    /// The socket, made if it is new; `None` if the table is full.
    pub fn entry(&mut self, cookie: SocketCookie) -> Option<&mut Socket> {
        while self.sockets.len() >= self.max && !self.sockets.contains_key(&cookie) {
            // A grave may be of a socket that serves again: that one makes no room.
            let (_, oldest, _) = self.tombstones.pop_front()?;
            self.forget(oldest);
        }
        Some(self.sockets.entry(cookie).or_insert_with(|| Box::new(Socket::new())))
    }

    /// Drops a socket that found no room; a later scan brings it back.
    pub fn discard(&mut self, cookie: SocketCookie) {
        if self.sockets.get(&cookie).is_some_and(|socket| socket.counted_in.is_none()) {
            self.sockets.remove(&cookie);
        }
    }

    /// Lets a socket that serves nothing be forgotten later.
    pub fn keep_tombstone(&mut self, cookie: SocketCookie, netns: NetnsId, now: BootTime) {
        if let Some(socket) = self.sockets.get_mut(&cookie)
            && !socket.is_tombstone
        {
            socket.is_tombstone = true;
            self.tombstones.push_back((now.after(TOMBSTONE_LIFE), cookie, netns));
        }
    }

    /// How many fit.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    /// When the next tombstone is to go.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.tombstones.front().map(|(at, ..)| *at)
    }

    pub fn sweep(&mut self, now: BootTime) {
        while let Some((_, cookie, _)) = self.tombstones.pop_front_if(|(at, ..)| *at <= now) {
            self.forget(cookie);
        }
        let (left, tombstones) = (self.sockets.len(), self.tombstones.len());
        if self.sockets.capacity() > 4 * left + SPARE {
            self.sockets.shrink_to(2 * left);
        }
        if self.tombstones.capacity() > 4 * tombstones + SPARE {
            self.tombstones.shrink_to(2 * tombstones);
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    fn forget(&mut self, cookie: SocketCookie) {
        if let Some(socket) = self.sockets.get_mut(&cookie) {
            socket.is_tombstone = false;
            if socket.counted_in.is_none() {
                self.sockets.remove(&cookie);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU16;

    use super::*;
    use crate::model::identity::Protocol;

    #[test]
    fn a_socket_that_serves_again_does_not_keep_a_closed_one_in_the_table() {
        let netns = NetnsId(1);
        let port = PortId { netns, protocol: Protocol::Tcp, port: NonZeroU16::MIN };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let fact = |at| SocketFact { at: BootTime(at), port, address, v6_only: None };
        let mut table = SocketTable::new(2);
        for cookie in [SocketCookie(1), SocketCookie(2)] {
            let socket = table.entry(cookie).expect("room");
            socket.open(fact(1), None);
            socket.close(BootTime(2));
            table.keep_tombstone(cookie, netns, BootTime(2));
        }
        let again = table.entry(SocketCookie(1)).expect("it is known");
        again.open(fact(3), None);
        again.counted_in = Some(port);
        assert!(table.entry(SocketCookie(3)).is_some(), "the second is closed");
        assert!(table.get(SocketCookie(1)).is_some(), "the first serves");
        table.get_mut(SocketCookie(3)).expect("just made").counted_in = Some(port);
        assert!(table.entry(SocketCookie(4)).is_none(), "all serve");
    }
}
