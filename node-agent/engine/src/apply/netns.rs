//! Applies discovered and ended network namespaces.

use crate::engine::Engine;
use crate::model::identity::{BootTime, NetnsId, SocketCookie};
use crate::model::netns::NetnsFacts;

impl Engine {
    /// Learns about a netns, and judges its ports and pods again if that is news.
    pub(crate) fn netns_seen(&mut self, facts: NetnsFacts, at: BootTime, now: BootTime) {
        let id = facts.netns;
        let Some(before) = self.facts.netns.learn(facts, at) else { return };
        if let Some(before) = &before {
            self.facts.addresses.remove_netns(before);
        }
        if let Some(facts) = self.facts.netns.facts(id).filter(|_| !self.facts.netns.is_gone(id)) {
            self.facts.addresses.add_netns(facts);
            self.facts.pods.learn_paths(id, &facts.paths);
            if facts.is_host && before.is_none_or(|before| before.addresses != facts.addresses) {
                self.node_addresses_changed();
            }
        }
        self.facts.settle_claim(id);
        self.agenda.judge_all(self.ports.of_netns(id));
        self.check_pods_of(id, now);
    }

    /// Closes the sockets of an ended netns.
    pub(crate) fn netns_gone(&mut self, id: NetnsId, at: BootTime, now: BootTime) {
        if self.facts.netns.end(id, at, now)
            && let Some(facts) = self.facts.netns.facts(id)
        {
            self.facts.addresses.remove_netns(facts);
        }
        for port in self.ports.of_netns(id) {
            let cookies: Vec<SocketCookie> =
                self.ports.get(port).map(|port| port.sockets.iter().collect()).unwrap_or_default();
            for cookie in cookies {
                self.settle_socket(cookie, id, now);
            }
        }
        self.check_pods_of(id, now);
        if self.facts.netns.is_gone(id) {
            self.facts.pods.learn_paths(id, &[]);
            self.facts.settle_claim(id);
        }
    }
}
