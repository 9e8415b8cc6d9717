//! Every socket as a register of facts ordered by their own time: the same facts give the same answer in any order.
//! Closed sockets stay as tombstones for 30 seconds, for events that come late.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId, PortId, SocketCookie};
use crate::model::process::Process;
use crate::state::moment::Moment;

/// How long a closed socket is remembered.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(30);

/// Spare capacity that is not worth giving back.
const SPARE: usize = 4096;

/// A report that a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketFact {
    /// When the report held.
    pub at: BootTime,
    /// The port that the socket serves.
    pub port: PortId,
    /// Local address.
    pub address: IpAddr,
    /// True if an IPv6 socket refuses IPv4; `None` where unknown.
    pub v6_only: Option<bool>,
    /// True if the socket is bound to a device at which nothing from outside arrives, such as loopback.
    pub on_loopback: bool,
}

/// What the facts about an open socket amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketView {
    /// The port that the socket serves.
    pub port: PortId,
    /// Local address.
    pub address: IpAddr,
    /// True if an IPv6 socket refuses IPv4; `None` where unknown.
    pub v6_only: Option<bool>,
    /// True if the socket is bound to a device at which nothing from outside arrives, such as loopback.
    pub on_loopback: bool,
    /// When the socket opened; `None` if only scans know it.
    pub opened_at: Option<BootTime>,
    /// Earliest time at which the socket is known to serve.
    pub first_at: BootTime,
    /// Latest scan that listed the socket.
    pub scanned_at: Option<BootTime>,
}

/// Who holds a socket. Ordered only to decide between facts of the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeldBy {
    /// Not known.
    #[default]
    Unknown,
    /// No process at present.
    Nobody,
    /// This process.
    Process(Arc<Process>),
    /// The kernel itself.
    Kernel,
}

impl HeldBy {
    /// Returns the process, if a process is known to hold the socket.
    #[must_use]
    pub(crate) const fn process(&self) -> Option<&Arc<Process>> {
        match self {
            Self::Process(process) => Some(process),
            Self::Unknown | Self::Nobody | Self::Kernel => None,
        }
    }

    /// Returns how much there is to show: nothing, a process, or the kernel, which is never a guess.
    #[must_use]
    pub(crate) const fn certainty(&self) -> u8 {
        match self {
            Self::Unknown | Self::Nobody => 0,
            Self::Process(_) => 1,
            Self::Kernel => 2,
        }
    }

    /// Decides between facts of the same time, in whichever order they arrive.
    fn rank(&self) -> (u8, u32, &str, Option<&str>) {
        let process =
            self.process().map(|process| (process.pid, process.name.as_str(), process.executable.as_deref()));
        let (pid, name, executable) = process.unwrap_or_default();
        (self.certainty(), pid, name, executable)
    }
}

impl SocketView {
    /// Returns true if the socket can be reached from its own netns only.
    #[must_use]
    pub(crate) const fn is_loopback(&self) -> bool {
        self.on_loopback || self.address.is_loopback()
    }
}

/// One socket: the latest fact of each kind.
#[derive(Debug)]
pub(crate) struct Socket {
    opened: Option<SocketFact>,
    scanned: Option<SocketFact>,
    first_scanned: Moment,
    closed: Moment,
    /// Who held the socket when that was last seen.
    held_by: (BootTime, HeldBy),
    /// The port that counts the socket as its own.
    pub counted_in: Option<PortId>,
    /// True if that port counts the socket as bound to another address than loopback.
    pub beyond_loopback: bool,
    /// The latest opening that a port took into account.
    pub reported_open: Moment,
    /// True if the socket is queued to be forgotten.
    is_tombstone: bool,
}

impl Socket {
    const fn new() -> Self {
        Self {
            opened: None,
            scanned: None,
            first_scanned: Moment::NONE,
            closed: Moment::NONE,
            held_by: (BootTime(0), HeldBy::Unknown),
            counted_in: None,
            beyond_loopback: false,
            reported_open: Moment::NONE,
            is_tombstone: false,
        }
    }

    /// Learns that the socket opened.
    pub(crate) fn open(&mut self, fact: SocketFact, held_by: HeldBy) {
        self.opened = self.opened.max(Some(fact));
        self.learn_holder(fact.at, held_by);
    }

    /// Learns that a scan listed the socket.
    pub(crate) fn list(&mut self, fact: SocketFact, held_by: HeldBy) {
        self.scanned = self.scanned.max(Some(fact));
        let first = self.first_scanned.get();
        self.first_scanned = first.map_or(fact.at, |first| first.min(fact.at)).into();
        self.learn_holder(fact.at, held_by);
    }

    /// Learns that the socket closed.
    pub(crate) fn close(&mut self, at: BootTime) {
        self.closed.raise(Some(at));
    }

    /// Returns true if the scan of that moment listed the socket.
    #[must_use]
    pub(crate) fn was_listed_at(&self, at: BootTime) -> bool {
        self.scanned.is_some_and(|scanned| scanned.at == at)
    }

    /// Returns the latest time at which the socket is known to have ended; `floor` is its netns's.
    #[must_use]
    pub(crate) fn ended_at(&self, floor: BootTime) -> BootTime {
        self.closed.get().unwrap_or_default().max(floor)
    }

    /// Returns when the socket began to serve, as far as is known, open or closed.
    #[must_use]
    pub(crate) fn began_at(&self) -> Option<BootTime> {
        self.opened.map(|opened| opened.at).or(self.first_scanned.get())
    }

    /// Returns who held the socket when that was last seen.
    #[must_use]
    pub(crate) const fn held_by(&self) -> &HeldBy {
        &self.held_by.1
    }

    /// Returns the socket if it is open: seen after it last closed, and not before the latest scan of its netns
    /// (`floor`).
    #[must_use]
    pub(crate) fn view(&self, floor: BootTime) -> Option<SocketView> {
        let latest = self.latest()?;
        let serves = latest.at >= floor && self.closed.get().is_none_or(|closed| latest.at > closed);
        serves.then(|| self.describe(latest))
    }

    /// Returns a socket that opened and closed before it could be counted, unless that opening was taken into
    /// account.
    #[must_use]
    pub(crate) fn short_lived(&self, floor: BootTime) -> Option<SocketView> {
        let opened = self.opened?;
        let fresh = self.view(floor).is_none()
            && self.reported_open.get().is_none_or(|reported_open| reported_open < opened.at);
        fresh.then_some(SocketView {
            port: opened.port,
            address: opened.address,
            v6_only: opened.v6_only,
            on_loopback: opened.on_loopback,
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
        let alive = |at: BootTime| self.closed.get().is_none_or(|closed| at > closed);
        let opened = self.opened.filter(|opened| alive(opened.at) && opened.port == latest.port);
        let first_scanned = self.first_scanned.get().filter(|at| alive(*at)).unwrap_or(latest.at);
        let scanned = self.scanned.filter(|scanned| scanned.port == latest.port);
        SocketView {
            port: latest.port,
            address: latest.address,
            on_loopback: latest.on_loopback,
            v6_only: scanned.and_then(|scanned| scanned.v6_only).or(latest.v6_only),
            opened_at: opened.map(|opened| opened.at),
            first_at: opened.map_or(first_scanned, |opened| opened.at),
            scanned_at: scanned.map(|scanned| scanned.at),
        }
    }

    /// Learns who holds the socket. Not to have found out says nothing, and changes nothing.
    fn learn_holder(&mut self, at: BootTime, held_by: HeldBy) {
        let (known_at, known) = &self.held_by;
        if held_by != HeldBy::Unknown && (at, held_by.rank()) > (*known_at, known.rank()) {
            self.held_by = (at, held_by);
        }
    }
}

/// All sockets, bounded.
#[derive(Debug)]
pub(crate) struct SocketTable {
    /// Boxed, because most of the table is empty after a burst.
    sockets: HashMap<SocketCookie, Box<Socket>>,
    /// Closed sockets, with the time at which each is forgotten.
    tombstones: VecDeque<(BootTime, SocketCookie, NetnsId)>,
    max: usize,
}

impl SocketTable {
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self { sockets: HashMap::new(), tombstones: VecDeque::new(), max }
    }

    #[must_use]
    pub(crate) fn get(&self, cookie: SocketCookie) -> Option<&Socket> {
        self.sockets.get(&cookie).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, cookie: SocketCookie) -> Option<&mut Socket> {
        self.sockets.get_mut(&cookie).map(Box::as_mut)
    }

    /// Returns the socket, added if it is new; `None` if the table is full of open sockets. Evicts the oldest
    /// tombstone if needed.
    pub(crate) fn entry(&mut self, cookie: SocketCookie) -> Option<&mut Socket> {
        while self.sockets.len() >= self.max && !self.sockets.contains_key(&cookie) {
            // A tombstone may belong to a socket that is open again, which makes no room.
            let (_, oldest, _) = self.tombstones.pop_front()?;
            self.forget(oldest);
        }
        Some(self.sockets.entry(cookie).or_insert_with(|| Box::new(Socket::new())))
    }

    /// Removes a socket that no port counts; a later scan brings it back.
    pub(crate) fn discard(&mut self, cookie: SocketCookie) {
        if self.sockets.get(&cookie).is_some_and(|socket| socket.counted_in.is_none()) {
            self.sockets.remove(&cookie);
        }
    }

    /// Queues a closed socket to be forgotten later.
    pub(crate) fn keep_tombstone(&mut self, cookie: SocketCookie, netns: NetnsId, now: BootTime) {
        if let Some(socket) = self.sockets.get_mut(&cookie)
            && !socket.is_tombstone
        {
            socket.is_tombstone = true;
            self.tombstones.push_back((now.after(TOMBSTONE_LIFE), cookie, netns));
        }
    }

    /// Returns the capacity.
    #[must_use]
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Returns when the next tombstone expires.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.tombstones.front().map(|(at, ..)| *at)
    }

    /// Forgets expired tombstones.
    pub(crate) fn sweep(&mut self, now: BootTime) {
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
    pub(crate) fn len(&self) -> usize {
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
        let fact = |at| SocketFact { at: BootTime(at), port, address, v6_only: None, on_loopback: false };
        let mut table = SocketTable::new(2);
        for cookie in [SocketCookie(1), SocketCookie(2)] {
            let socket = table.entry(cookie).expect("room");
            socket.open(fact(1), HeldBy::Unknown);
            socket.close(BootTime(2));
            table.keep_tombstone(cookie, netns, BootTime(2));
        }
        let again = table.entry(SocketCookie(1)).expect("it is known");
        again.open(fact(3), HeldBy::Unknown);
        again.counted_in = Some(port);
        assert!(table.entry(SocketCookie(3)).is_some(), "the second is closed");
        assert!(table.get(SocketCookie(1)).is_some(), "the first serves");
        table.get_mut(SocketCookie(3)).expect("just made").counted_in = Some(port);
        assert!(table.entry(SocketCookie(4)).is_none(), "all serve");
    }
}
