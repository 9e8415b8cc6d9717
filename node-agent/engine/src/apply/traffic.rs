//! Applies drained traffic counters.

use crate::engine::Engine;
use crate::judge::nat_path::peer_origin;
use crate::model::identity::{BootTime, PortId};
use crate::model::traffic::{PortDelta, TrafficDrain};
use crate::state::port_traffic::PeerLimits;
use crate::state::quota::Usage;

impl Engine {
    /// Applies a drain of the kernel's counters.
    pub(crate) fn traffic_drained(&mut self, drain: TrafficDrain, now: BootTime) {
        self.ports.index_mut().drained_at(drain.at);
        for (id, delta) in &drain.ports {
            self.count(*id, delta, drain.at, now);
        }
        self.agenda.judge_all(self.ports.index().closing());
    }

    /// Adds the growth of one port's counters.
    fn count(&mut self, id: PortId, delta: &PortDelta, at: BootTime, now: BootTime) {
        if !self.admit_port(id, now) {
            return;
        }
        let Some((port, index)) = self.ports.split(id) else { return };
        port.dismissed = false;
        let facts = &self.facts;
        let serving = facts.serving(id.netns, port.pod);
        let nat_paths = port.nat_paths.as_deref();
        let resolve = |peer| peer_origin(facts, peer, serving, nat_paths);
        let share = self.facts.netns.quota_left(id.netns, self.options.max_peers, |usage| usage.peers);
        let limits = PeerLimits {
            per_listener: self.options.max_peers_per_listener,
            left: self.options.max_peers.saturating_sub(index.peers()).min(share),
            hold: self.options.attribution_hold,
        };
        let kept = port.traffic.peer_count();
        let reach = port.traffic.reach();
        let by_origin = port.traffic.absorb(id.protocol, delta, at, limits, &resolve);
        // A full list evicts at most one peer per new one, so the count never shrinks.
        let more = port.traffic.peer_count().saturating_sub(kept);
        index.add_peers(more);
        self.facts.netns.charge(id.netns, Usage { peers: more, ..Usage::default() });
        self.outbox.totals_mut().count_connections(port.status, delta.connections, &by_origin);
        let moved =
            reach != port.traffic.reach() || port.traffic.has_new_peers || port.traffic.settle_at().is_some();
        if moved || port.reported.is_none() {
            self.agenda.judge(id);
        }
        self.outbox.touch();
    }
}
