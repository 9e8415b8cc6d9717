//! Admits ports and sockets into the bounded tables. One netns may occupy at most half of a table, all unclaimed netns
//! together at most a quarter, so a pod that creates netns leaves a quarter to the others.

use crate::engine::Engine;
use crate::model::change::Change;
use crate::model::identity::{BootTime, NetnsId, PortId};
use crate::state::port::Port;
use crate::state::quota::Usage;

impl Engine {
    /// Looks whether a pod claims this netns, so that what is kept for it counts with that of all homeless ones or not.
    pub(crate) fn settle_claim(&mut self, netns: NetnsId) {
        let unclaimed = !self.netns.is_host(netns) && self.pods.in_netns(netns).is_none();
        self.netns.settle_claim(netns, unclaimed);
    }

    /// True if the port is kept, or was made; false if a cap forbids it.
    pub(crate) fn admit_port(&mut self, id: PortId, now: BootTime) -> bool {
        if self.ports.contains_key(&id) {
            return true;
        }
        self.netns.entry(id.netns);
        self.settle_claim(id.netns);
        let max = self.options.max_listeners;
        if self.ports.len() >= max || self.netns.quota_left(id.netns, max, |usage| usage.ports) == 0 {
            self.refuse_port("engine-listeners-full", id);
            return false;
        }
        self.netns.charge(id.netns, Usage { ports: 1, ..Usage::default() });
        let port = Port { age: self.port_ages.take(id), ..Port::new(now) };
        self.ports.insert(id, Box::new(port));
        self.unattributed.insert(id);
        true
    }

    /// The same for one more socket of it.
    pub(crate) fn admit_socket(&mut self, id: PortId, now: BootTime) -> bool {
        self.settle_claim(id.netns);
        if self.netns.quota_left(id.netns, self.sockets.max(), |usage| usage.sockets) == 0 {
            self.refuse_port("engine-sockets-full", id);
            return false;
        }
        let room = self.admit_port(id, now);
        if room {
            self.netns.charge(id.netns, Usage { sockets: 1, ..Usage::default() });
        }
        room
    }

    /// A port, or a socket of it, did not fit: unless it is kept for its other sockets, the kernel side counts it for nothing.
    pub(crate) fn refuse_port(&mut self, reason: &'static str, id: PortId) {
        self.refuse(reason);
        if !self.ports.contains_key(&id) {
            self.out.push(Change::Unwatch(id));
        }
        self.netns.prune(id.netns);
    }
}
