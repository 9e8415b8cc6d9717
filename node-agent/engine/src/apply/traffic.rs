//! Applies drained traffic counters.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{BootTime, PortId};
use crate::model::traffic::{PortDelta, TrafficDrain};
use crate::state::addresses::Serving;
use crate::state::port_traffic::PeerLimits;
use crate::state::quota::Usage;

impl Engine {
    pub(crate) fn traffic_drained(&mut self, drain: TrafficDrain, now: BootTime) {
        self.last_drain = self.last_drain.max(Some(drain.at));
        for (id, delta) in &drain.ports {
            self.count(*id, delta, drain.at, now);
        }
        self.dirty.extend(self.closing.iter().copied());
    }

    fn count(&mut self, id: PortId, delta: &PortDelta, at: BootTime, now: BootTime) {
        if !self.admit_port(id, now) {
            return;
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.dismissed = false;
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let serving = Serving { pod: port.pod, facts };
        let (addresses, pods) = (&self.addresses, &self.pods);
        let nat_paths = port.nat_paths.as_deref();
        let resolve = |peer| {
            let by_address = addresses.origin(peer, serving, pods);
            nat_paths
                .map_or_else(|| by_address.clone(), |nat_paths| nat_paths.origin_of(peer, by_address.clone()))
        };
        let share = self.netns.quota_left(id.netns, self.options.max_peers, |usage| usage.peers);
        let limits = PeerLimits {
            per_listener: self.options.max_peers_per_listener,
            left: self.options.max_peers.saturating_sub(self.peers).min(share),
            hold: self.options.attribution_hold,
        };
        let kept = port.traffic.peer_count();
        let reach = port.traffic.reach();
        let by_origin = port.traffic.absorb(id.protocol, delta, at, limits, &resolve);
        // A full list may lose a peer for each new one, never more.
        let more = port.traffic.peer_count().saturating_sub(kept);
        self.peers = self.peers.saturating_add(more);
        self.netns.charge(id.netns, Usage { peers: more, ..Usage::default() });
        self.totals.count_connections(port.status, delta.connections, &by_origin);
        let moved =
            reach != port.traffic.reach() || port.traffic.has_new_peers || port.traffic.settle_at().is_some();
        if moved || port.reported.is_none() {
            self.dirty.insert(id);
        }
        self.bump_generation();
    }
}
