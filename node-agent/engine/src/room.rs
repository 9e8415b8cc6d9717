//! Who gets room in the bounded tables of ports, sockets and peers: one netns at most half of each, and all netns that no
//! pod's path claims at most a quarter together. So a pod, which may make netns of its own, leaves a quarter to the others.

use super::Engine;
use super::change::Change;
use super::identity::{BootTime, NetnsId, PortId};
use super::netns_index::NetnsIndex;
use super::port::Port;

/// What is kept in each table, for one netns or for several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub ports: usize,
    pub sockets: usize,
    pub peers: usize,
}

impl Taken {
    pub fn add(&mut self, other: Self) {
        self.ports = self.ports.saturating_add(other.ports);
        self.sockets = self.sockets.saturating_add(other.sockets);
        self.peers = self.peers.saturating_add(other.peers);
    }

    pub fn remove(&mut self, other: Self) {
        self.ports = self.ports.saturating_sub(other.ports);
        self.sockets = self.sockets.saturating_sub(other.sockets);
        self.peers = self.peers.saturating_sub(other.peers);
    }
}

impl NetnsIndex {
    /// How much a netns may still take of a table for `max`, as far as the others must be left something.
    #[must_use]
    pub fn share_left(&self, netns: NetnsId, max: usize, of: fn(&Taken) -> usize) -> usize {
        let own = self.get(netns);
        let left = max.div_ceil(2).saturating_sub(own.map_or(0, |netns| of(&netns.taken)));
        if own.is_some_and(|netns| netns.homeless) {
            left.min(max.div_ceil(4).saturating_sub(of(&self.homeless())))
        } else {
            left
        }
    }
}

impl Engine {
    /// Looks whether a pod claims this netns, so that what is kept for it counts with that of all homeless ones or not.
    pub(super) fn settle_home(&mut self, netns: NetnsId) {
        let homeless = !self.netns.is_host(netns) && self.pods.in_netns(netns).is_none();
        self.netns.settle_home(netns, homeless);
    }

    /// True if the port is kept, or was made; false if a cap forbids it.
    pub(super) fn make_room(&mut self, id: PortId, now: BootTime) -> bool {
        if self.ports.contains_key(&id) {
            return true;
        }
        self.netns.entry(id.netns);
        self.settle_home(id.netns);
        let max = self.options.max_listeners;
        if self.ports.len() >= max || self.netns.share_left(id.netns, max, |taken| taken.ports) == 0 {
            self.refuse_port("engine-listeners-full", id);
            return false;
        }
        self.netns.take(id.netns, Taken { ports: 1, ..Taken::default() });
        let port = Port { tenure: self.tenures.resume(id), ..Port::new(now) };
        self.ports.insert(id, Box::new(port));
        self.unattributed.insert(id);
        true
    }

    /// The same for one more socket of it.
    pub(super) fn make_room_for_socket(&mut self, id: PortId, now: BootTime) -> bool {
        self.settle_home(id.netns);
        if self.netns.share_left(id.netns, self.sockets.max(), |taken| taken.sockets) == 0 {
            self.refuse_port("engine-sockets-full", id);
            return false;
        }
        let room = self.make_room(id, now);
        if room {
            self.netns.take(id.netns, Taken { sockets: 1, ..Taken::default() });
        }
        room
    }

    /// A port, or a socket of it, did not fit: unless it is kept for its other sockets, the kernel side counts it for nothing.
    pub(super) fn refuse_port(&mut self, reason: &'static str, id: PortId) {
        self.refuse(reason);
        if !self.ports.contains_key(&id) {
            self.out.push(Change::Unwatch(id));
        }
        self.netns.prune(id.netns);
    }
}
