//! Applies discovered and ended network namespaces.

use crate::engine::Engine;
use crate::model::identity::{BootTime, NetnsId, SocketCookie};
use crate::model::netns::NetnsFacts;

impl Engine {
    pub(crate) fn netns_seen(&mut self, facts: NetnsFacts, at: BootTime, now: BootTime) {
        let id = facts.netns;
        let Some(before) = self.netns.learn(facts, at) else { return };
        if let Some(before) = &before {
            self.addresses.remove_netns(before);
        }
        if let Some(facts) = self.netns.facts(id).filter(|_| !self.netns.is_gone(id)) {
            self.addresses.add_netns(facts);
            self.pods.learn_paths(id, &facts.paths);
            if facts.is_host && before.is_none_or(|before| before.addresses != facts.addresses) {
                self.node_addresses_changed();
            }
        }
        self.settle_claim(id);
        self.dirty.extend(self.ports_of(id));
        self.check_pods_of(id, now);
    }

    pub(crate) fn netns_gone(&mut self, id: NetnsId, at: BootTime, now: BootTime) {
        if self.netns.end(id, at, now)
            && let Some(facts) = self.netns.facts(id)
        {
            self.addresses.remove_netns(facts);
        }
        for port in self.ports_of(id) {
            let cookies: Vec<SocketCookie> =
                self.ports.get(&port).map(|port| port.sockets.iter().collect()).unwrap_or_default();
            for cookie in cookies {
                self.settle_socket(cookie, id, now);
            }
        }
        self.check_pods_of(id, now);
        if self.netns.is_gone(id) {
            self.pods.learn_paths(id, &[]);
            self.settle_claim(id);
        }
    }
}
