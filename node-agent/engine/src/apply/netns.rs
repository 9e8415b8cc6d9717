//! Applies discovered and ended network namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::connection::ConnectionList;
use crate::model::identity::{BootTime, NetnsId, SocketCookie};
use crate::model::netns::NetnsFacts;

impl Engine {
    /// Learns about a netns, and judges its ports and pods again if that is news.
    pub(crate) fn netns_seen(&mut self, facts: NetnsFacts, at: BootTime, now: BootTime) {
        let id = facts.netns;
        let elsewhere: BTreeSet<NetnsId> = facts
            .paths
            .iter()
            .filter_map(|path| self.facts.netns.at_path(path))
            .filter(|at| *at != id)
            .collect();
        let known = self.facts.netns.facts(id).filter(|_| !self.facts.netns.is_gone(id)).cloned();
        if !self.facts.netns.learn(facts, at) {
            return;
        }
        let present = self.facts.netns.facts(id).filter(|_| !self.facts.netns.is_gone(id));
        self.facts.addresses.replace_netns(known.as_deref(), present.map(Arc::as_ref));
        if let Some(facts) = present {
            self.facts.pods.learn_paths(id, &facts.paths);
            if facts.is_host && known.is_none_or(|known| known.addresses != facts.addresses) {
                self.node_addresses_changed();
            }
        }
        self.facts.settle_claim(id);
        if elsewhere.is_empty() {
            self.agenda.judge_all(self.ports.of_netns(id));
        } else {
            self.take_over_ports(id, now);
        }
        for netns in elsewhere {
            self.agenda.judge_all(self.ports.of_netns(netns));
        }
        self.check_pods_of(id, now);
    }

    /// Closes the sockets of an ended netns.
    pub(crate) fn netns_gone(&mut self, id: NetnsId, at: BootTime, now: BootTime) {
        if self.facts.netns.end(id, at, now)
            && let Some(facts) = self.facts.netns.facts(id)
        {
            self.facts.addresses.replace_netns(Some(facts), None);
        }
        self.agenda.judge_all(self.ports.of_netns(id));
        self.connections_listed(&ConnectionList { netns: id, at, connections: Vec::new() }, now);
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
            for heir in self.at_paths_of(id) {
                self.agenda.judge_all(self.ports.of_netns(heir));
                self.check_pods_of(heir, now);
            }
        }
    }

    /// Returns the netns that are at the paths of an ended one now: it may have been there for a while only.
    fn at_paths_of(&self, ended: NetnsId) -> BTreeSet<NetnsId> {
        let paths = self.facts.netns.facts(ended).into_iter().flat_map(|facts| &facts.paths);
        paths.filter_map(|path| self.facts.netns.at_path(path)).filter(|at| *at != ended).collect()
    }
}
