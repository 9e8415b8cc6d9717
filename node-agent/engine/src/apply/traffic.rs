//! Applies drained traffic counters.

use crate::engine::Engine;
use crate::judge::nat_path::peer_origin;
use crate::model::identity::{BootTime, PortId, Protocol};
use crate::model::listener::DeclarationStatus;
use crate::model::traffic::{PeerDelta, PortDelta, TrafficDrain};
use crate::state::classify::{Classify, PeerLimits};
use crate::state::new_connections::NewConnections;
use crate::state::port_traffic::PortTraffic;
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

    /// Counts the traffic of a port that turned out to be another port's.
    pub(crate) fn count_folded(&mut self, now: BootTime) -> bool {
        let Some((to, delta, at)) = self.ports.index_mut().next_folded() else { return false };
        // The metrics have its connections already.
        self.absorb(to, now, |traffic, limits, classify| {
            traffic.absorb(to.protocol, &delta, at, limits, classify);
            NewConnections::default()
        });
        true
    }

    /// Adds the growth of one port's counters.
    fn count(&mut self, id: PortId, delta: &PortDelta, at: BootTime, now: BootTime) {
        let redirected = delta.peers.iter().rev().find_map(|peer| peer.accepted_by);
        let is_admitted = match redirected {
            Some(_) => self.admit_forwarded_port(id, now),
            None => self.admit_port(id, now),
        };
        if !is_admitted {
            return;
        }
        if let Some(to) = redirected {
            self.port_redirected(id, (at, to));
        }
        self.absorb(id, now, |traffic, limits, classify| {
            traffic.absorb(id.protocol, delta, at, limits, classify)
        });
    }

    /// Adds new connections of a forwarded port.
    pub(crate) fn count_forwarded(&mut self, id: PortId, callers: &[PeerDelta], at: BootTime, now: BootTime) {
        self.absorb(id, now, |traffic, limits, classify| {
            traffic.absorb_forwarded(id.protocol, callers, at, limits, classify)
        });
    }

    /// Adds traffic to a port, and judges the port again if that may change what is said about it.
    fn absorb(
        &mut self,
        id: PortId,
        now: BootTime,
        add: impl FnOnce(&mut PortTraffic, PeerLimits, Classify<'_>) -> NewConnections,
    ) {
        if !self.admit_port(id, now) {
            return;
        }
        let Some((port, index)) = self.ports.split(id) else { return };
        port.dismissed = false;
        let facts = &self.facts;
        let serving = facts.serving(id.netns, port.pod);
        let nat_paths = port.nat_paths.as_deref();
        let resolve = |peer| peer_origin(facts, peer, serving, nat_paths);
        let is_listed = facts.is_listed(port.pod, (id.protocol, id.port));
        let classify = Classify { resolve: &resolve, is_listed: &is_listed };
        let share = self.facts.netns.quota_left(id.netns, self.options.max_peers, |usage| usage.peers);
        let limits = PeerLimits {
            per_listener: self.options.max_peers_per_listener,
            left: self.options.max_peers.saturating_sub(index.peers()).min(share),
            hold: self.options.attribution_hold,
        };
        let kept = port.traffic().peer_count();
        let reach = port.traffic().reach();
        let role = port.bindings.as_ref().map(|bindings| port.role(bindings, self.options.grace));
        let new = add(port.traffic.get_or_insert_default(), limits, classify);
        drop(is_listed);
        // A full list evicts at most one peer per new one, so the count never shrinks.
        let more = port.traffic().peer_count().saturating_sub(kept);
        index.add_peers(more);
        self.facts.netns.charge(id.netns, Usage { peers: more, ..Usage::default() });
        self.outbox.totals_mut().count_connections(port.status, new.all, &new.by_origin);
        let is_other_role = id.protocol == Protocol::Udp
            && role != port.bindings.as_ref().map(|bindings| port.role(bindings, self.options.grace));
        // Several callers may prove what one does not.
        let may_be_proven = port.unproven && !self.options.knows_direction;
        let may_be_beyond = port.status == DeclarationStatus::Explained && port.traffic().has_new_callers;
        let moved = reach != port.traffic().reach()
            || port.traffic().has_new_peers
            || port.traffic().settle_at().is_some();
        if moved || is_other_role || may_be_proven || may_be_beyond || port.reported.is_none() {
            self.agenda.judge(id);
        }
        self.outbox.touch();
    }
}
