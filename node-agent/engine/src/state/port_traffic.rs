//! Traffic of one port: exact totals, and the busiest peers within the caps. A peer that does not fit sets
//! `truncated`. The farthest reach is kept apart from the peer list, so evicting a peer cannot lower a verdict.

use std::cmp::Reverse;
use std::time::Duration;

use crate::model::identity::{BootTime, Protocol};
use crate::model::reach::Reach;
use crate::model::traffic::{Origin, PeerDelta, PortDelta, Traffic};
use crate::rules::audience::{KnownLabels, PortAudience};
use crate::state::classify::{Classify, PeerLimits, Resolve};
use crate::state::direction::{Direction, Role};
use crate::state::nat_paths::NatPaths;
use crate::state::new_connections::NewConnections;
use crate::state::peer_count::{PeerCount, TakenBy, peer_served};
use crate::state::standing::{Standing, UnlistedReach};
use crate::state::way_in::WayIn;

/// Traffic of one port.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortTraffic {
    attempts: u64,
    connections: u64,
    packets: u64,
    bytes: u64,
    last_seen: Option<BootTime>,
    /// Kept peers, sorted by address.
    peers: Vec<PeerCount>,
    /// True if a peer is not listed.
    truncated: bool,
    /// Who spoke first. Only for UDP ports with traffic.
    direction: Option<Box<Direction>>,
    /// Connections that a proxy in the pod took.
    proxied: u64,
    /// Connections from within the pod by peers that are not listed.
    own_unlisted: u64,
    /// The farthest reach of served traffic.
    reach: Reach,
    /// The farthest reach of peers that are not listed: evicted, without room, or evicted by the kernel.
    unlisted: UnlistedReach,
    /// Served traffic of all drained peers, listed or not. What the port served beyond that belongs to peers that the
    /// kernel evicted before a drain.
    named: u64,
    /// Since when the port served more than its peers, and how much it had served by then. If `named` does not reach that
    /// within the hold, the kernel evicted some peers before they were drained.
    unnamed: Option<(BootTime, u64)>,
    /// True if a peer or its origin changed since the last report.
    pub has_new_peers: bool,
    /// True if a known peer was served for the first time, or another one was dropped, since the audience was judged.
    pub has_new_callers: bool,
    /// When an origin will be settled.
    settle_at: Option<BootTime>,
}

impl PortTraffic {
    /// Adds one drain. Returns the new connections.
    pub(crate) fn absorb(
        &mut self,
        protocol: Protocol,
        delta: &PortDelta,
        at: BootTime,
        limits: PeerLimits,
        classify: Classify<'_>,
    ) -> NewConnections {
        let twice = self.counted_twice(protocol);
        self.attempts = self.attempts.saturating_add(delta.attempts);
        self.connections = self.connections.saturating_add(delta.connections);
        self.packets = self.packets.saturating_add(delta.packets);
        self.bytes = self.bytes.saturating_add(delta.bytes);
        self.last_seen = self.last_seen.max(Some(at));
        self.truncated |= delta.peers_created > u64::try_from(delta.peers.len()).unwrap_or(u64::MAX);
        let taken_by = |peer: &PeerDelta| peer.accepted_by.map_or(TakenBy::Socket, TakenBy::Proxy);
        let peers = delta.peers.iter().map(|peer| (peer, taken_by(peer)));
        let by_origin = self.absorb_peers(protocol, peers, at, limits, classify);
        let twice = self.counted_twice(protocol).saturating_sub(twice);
        NewConnections { all: delta.connections, by_origin }.without(twice)
    }

    /// Adds new connections to a port that is forwarded. Packets and bytes are drained.
    pub(crate) fn absorb_forwarded(
        &mut self,
        protocol: Protocol,
        callers: &[PeerDelta],
        at: BootTime,
        limits: PeerLimits,
        classify: Classify<'_>,
    ) -> NewConnections {
        let all = callers.iter().map(|caller| caller.connections).fold(0, u64::saturating_add);
        self.connections = self.connections.saturating_add(all);
        if !callers.is_empty() {
            self.last_seen = self.last_seen.max(Some(at));
        }
        let peers = callers.iter().map(|caller| (caller, TakenBy::Forward));
        NewConnections { all, by_origin: self.absorb_peers(protocol, peers, at, limits, classify) }
    }

    fn absorb_peers<'a>(
        &mut self,
        protocol: Protocol,
        peers: impl ExactSizeIterator<Item = (&'a PeerDelta, TakenBy)>,
        at: BootTime,
        limits: PeerLimits,
        classify: Classify<'_>,
    ) -> Vec<(Origin, u64)> {
        let mut by_origin = Vec::new();
        let budget = self.peers.len().saturating_add(limits.left).min(limits.per_listener);
        if self.peers.is_empty() {
            // Growing step by step fragments the heap.
            self.peers.reserve_exact(peers.len().min(budget));
        }
        for (peer, taken_by) in peers {
            let served = peer_served(protocol, peer);
            self.named = self.named.saturating_add(served);
            if protocol == Protocol::Udp {
                if peer.addressed_first {
                    // What comes from there are answers.
                    self.direction.get_or_insert_default().ask(peer.first_seen, served > 0, at);
                    continue;
                }
                if served > 0 || taken_by == TakenBy::Forward {
                    let direction = self.direction.get_or_insert_default();
                    direction.call(peer.address, peer.attempts > 0, at);
                }
            }
            if matches!(taken_by, TakenBy::Proxy(_)) {
                self.proxied = self.proxied.saturating_add(peer.connections);
            }
            let origin = self.absorb_peer(protocol, (peer, taken_by), at, (budget, limits.hold), classify);
            if peer.connections > 0 {
                by_origin.push((origin, peer.connections));
            }
        }
        self.check_unnamed(protocol, at, limits.hold);
        by_origin
    }

    /// Notes whether the port served more than its peers. The kernel's port and peer counters are read one after the
    /// other, so a short difference means nothing.
    fn check_unnamed(&mut self, protocol: Protocol, at: BootTime, hold: Duration) {
        if self.unnamed.is_some_and(|(_, served)| self.named >= served) {
            self.unnamed = None;
        }
        let served = self.served(protocol);
        // A UDP port that asks has answers among its datagrams.
        let may_be_answers = protocol == Protocol::Udp && self.only_asked();
        if self.unlisted.all >= Reach::InCluster || served <= self.named || may_be_answers {
            self.unnamed = None;
        } else if self.unnamed.is_none() {
            self.unnamed = Some((at, served));
            self.schedule_settle(at.after(hold));
        }
    }

    /// Counts unnamed callers as at least a pod, once the difference outlasted the hold. Returns when that will be,
    /// if it is not yet.
    fn count_unnamed(&mut self, now: BootTime, hold: Duration) -> Option<BootTime> {
        let due = self.unnamed?.0.after(hold);
        if due > now {
            return Some(due);
        }
        self.unnamed = None;
        self.truncated = true;
        // Nobody knows whom the policies would have to list.
        self.raise_unlisted(Reach::InCluster, true);
        self.has_new_peers = true;
        None
    }

    /// Returns the traffic that makes a port used, from the port's counters; see [`peer_served`].
    const fn served(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp => self.connections,
            Protocol::Udp => self.packets.saturating_add(self.attempts),
            Protocol::Sctp => self.packets.saturating_add(self.connections),
        }
    }

    fn schedule_settle(&mut self, at: BootTime) {
        self.settle_at = Some(self.settle_at.map_or(at, |before| before.min(at)));
    }

    fn absorb_peer(
        &mut self,
        protocol: Protocol,
        (delta, taken_by): (&PeerDelta, TakenBy),
        at: BootTime,
        (budget, hold): (usize, Duration),
        classify: Classify<'_>,
    ) -> Origin {
        let slot = self.peers.binary_search_by(|peer| peer.address.cmp(&delta.address));
        if let Ok(known) = slot
            && let Some(peer) = self.peers.get_mut(known)
        {
            let was_served = peer.served(protocol);
            peer.add(protocol, (delta, taken_by), at);
            self.has_new_callers |= !was_served && peer.served(protocol);
            if peer.reference.is_none() && peer.origin == Origin::Pod {
                peer.reference = (classify.resolve)(peer.address).1;
                self.has_new_peers |= peer.reference.is_some();
            }
            let (served, reach) = (peer.served(protocol), peer.reach());
            self.raise(served, reach);
            return self.peers.get(known).map_or(Origin::External, |peer| peer.origin);
        }
        let mut peer = PeerCount::new(protocol, (delta, taken_by), (classify.resolve)(delta.address), at);
        let origin = peer.origin;
        peer.settled = peer.is_certain() || hold.is_zero();
        if !peer.settled {
            self.schedule_settle(at.after(hold));
        }
        self.raise(peer.served(protocol), peer.reach());
        self.store(protocol, peer, budget, classify);
        origin
    }

    /// Classifies the peers that are not settled again. Returns true if a reach or an origin changed.
    pub(crate) fn settle(
        &mut self,
        protocol: Protocol,
        now: BootTime,
        hold: Duration,
        resolve: Resolve<'_>,
    ) -> bool {
        if self.settle_at.is_none() {
            return false;
        }
        let before = self.reach;
        let mut changed = false;
        let mut next = self.count_unnamed(now, hold);
        let mut reach = self.reach;
        for peer in self.peers.iter_mut().filter(|peer| !peer.settled) {
            let (origin, reference) = resolve(peer.address);
            changed |= origin != peer.origin || reference != peer.reference;
            peer.origin = origin;
            peer.reference = reference;
            let due = peer.counted_at().after(hold);
            peer.settled = peer.is_certain() || due <= now;
            if !peer.settled {
                next = Some(next.map_or(due, |next: BootTime| next.min(due)));
            }
            if peer.served(protocol) {
                reach = reach.max(peer.reach());
            }
        }
        self.settle_at = next;
        self.reach = reach;
        self.has_new_peers |= changed;
        changed || before != self.reach
    }

    /// Classifies every peer again, because the port's own pod became known.
    pub(crate) fn resolve_all(&mut self, protocol: Protocol, resolve: Resolve<'_>) {
        for peer in &mut self.peers {
            (peer.origin, peer.reference) = resolve(peer.address);
            peer.settled |= peer.is_certain();
        }
        self.sum_up_reach(protocol);
    }

    /// Refines the origins of peers for which connection tracking knows the client.
    pub(crate) fn apply_nat_paths(&mut self, protocol: Protocol, nat_paths: &NatPaths) {
        for peer in self.peers.iter_mut().filter(|peer| nat_paths.has(peer.address)) {
            let origin = nat_paths.origin_of(peer.address, (peer.origin, peer.reference.take()));
            peer.settled |= origin.0 != peer.origin;
            (peer.origin, peer.reference) = origin;
        }
        self.sum_up_reach(protocol);
        self.has_new_peers = true;
    }

    /// Judges which callers are beyond the audience of an explained port. Returns the farthest reach of them. The paths
    /// of a peer's clients stand for the peer.
    pub(crate) fn settle_audience(
        &mut self,
        protocol: Protocol,
        audience: &PortAudience<'_>,
        labels: &dyn KnownLabels,
        nat_paths: Option<&NatPaths>,
    ) -> Reach {
        self.has_new_callers = false;
        let mut beyond = self.unlisted.beyond(audience);
        for peer in self.peers.iter_mut().filter(|peer| peer.served(protocol)) {
            if nat_paths.is_some_and(|paths| paths.stand_for(peer.address)) {
                peer.standing = Standing::default();
                continue;
            }
            let (reach, mut standing) = (peer.reach(), peer.standing);
            standing.settle(reach, audience, peer.caller(), labels);
            peer.standing = standing;
            if standing.is_beyond {
                beyond = beyond.max(reach);
            }
        }
        beyond
    }

    /// Returns true if a kept peer is the pod of this name.
    #[must_use]
    pub(crate) fn is_called_by(&self, reference: &str) -> bool {
        self.peers.iter().any(|peer| peer.reference.as_deref() == Some(reference))
    }

    fn sum_up_reach(&mut self, protocol: Protocol) {
        let listed = self.peers.iter().filter(|p| p.served(protocol)).map(PeerCount::reach).max();
        self.reach = self.unlisted.all.max(listed.unwrap_or_default());
    }

    #[must_use]
    pub(crate) const fn settle_at(&self) -> Option<BootTime> {
        self.settle_at
    }

    #[must_use]
    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    #[must_use]
    pub(crate) const fn last_seen(&self) -> Option<BootTime> {
        self.last_seen
    }

    /// Returns what the port is used for; see [`Direction::role`].
    #[must_use]
    pub(crate) fn role(&self, first_at: BootTime, loopback: bool, soon: Duration) -> Role {
        let role = |direction: &Direction| direction.role(first_at, loopback, soon);
        self.direction.as_deref().map(role).unwrap_or_default()
    }

    /// Returns true if the UDP port addressed others, and nobody called it.
    fn only_asked(&self) -> bool {
        self.direction.as_deref().is_some_and(Direction::only_asked)
    }

    /// Returns true if more than one address called, as far as is known.
    #[must_use]
    pub(crate) fn is_called_by_several(&self) -> bool {
        self.direction.as_deref().is_some_and(Direction::is_called_by_several)
    }

    /// Returns the number of connections that were counted twice: a proxy in the pod takes a caller's connection, and
    /// calls the port itself for it. Both are one connection.
    fn counted_twice(&self, protocol: Protocol) -> u64 {
        if self.proxied == 0 {
            return 0;
        }
        let own = self.peers.iter().filter(|peer| peer.is_own()).map(|peer| peer.connections(protocol));
        self.proxied.min(own.fold(self.own_unlisted, u64::saturating_add))
    }

    /// Adds the totals, not the peers, to a sum over ports.
    pub(crate) fn add_to(&self, protocol: Protocol, sum: &mut Traffic) {
        let connections = self.connections.saturating_sub(self.counted_twice(protocol));
        sum.attempts = sum.attempts.saturating_add(self.tries(protocol));
        sum.connections = sum.connections.saturating_add(connections);
        sum.packets = sum.packets.saturating_add(self.datagrams(protocol));
        sum.bytes = sum.bytes.saturating_add(self.bytes);
        sum.last_seen = sum.last_seen.max(self.last_seen);
        sum.truncated |= self.truncated || !self.peers.is_empty();
    }

    /// Returns the origin of each kept peer.
    pub(crate) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.peers.iter().map(|peer| peer.origin)
    }

    /// Returns the number of kept peers.
    #[must_use]
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Returns the traffic as reports show it, without the addresses that peers dialled and without its beginning. Of the calls that a proxy in the
    /// pod made for its callers, only those of the callers are shown.
    #[must_use]
    pub(crate) fn report(&self, protocol: Protocol, way_in: WayIn) -> Traffic {
        let twice = self.counted_twice(protocol);
        let mut left = twice;
        let mut kept: Vec<&PeerCount> = self.peers.iter().collect();
        // The calls of a proxy come over loopback, and are the most.
        kept.sort_by_key(|peer| {
            (!peer.is_own(), !peer.address.is_loopback(), Reverse(peer.connections(protocol)), peer.address)
        });
        let mut peers = Vec::with_capacity(kept.len());
        for peer in kept {
            let mut shown = peer.report(protocol);
            shown.via = way_in.via(peer.taken_by(), peer.address).map(Into::into);
            if peer.is_own() && left > 0 {
                let same = left.min(shown.connections);
                left = left.saturating_sub(same);
                shown.connections = shown.connections.saturating_sub(same);
                if shown.connections == 0 && shown.packets == 0 {
                    continue;
                }
            }
            peers.push(shown);
        }
        peers.sort_by_key(|peer| (Reverse(peer.connections), Reverse(peer.packets), peer.address));
        Traffic {
            since: None,
            earlier: Reach::Nothing,
            attempts: self.tries(protocol),
            connections: self.connections.saturating_sub(twice),
            packets: self.datagrams(protocol),
            bytes: self.bytes,
            last_seen: self.last_seen,
            peers,
            truncated: self.truncated,
        }
    }

    /// Returns everything as one delta, to be counted for another port.
    pub(crate) fn to_delta(&self, protocol: Protocol) -> PortDelta {
        PortDelta {
            attempts: self.attempts,
            connections: self.connections,
            packets: self.packets,
            bytes: self.bytes,
            peers_created: if self.truncated { u64::MAX } else { 0 },
            peers: self.peers.iter().map(|peer| peer.to_delta(protocol)).collect(),
        }
    }

    /// Returns the attempts as reports show them: SYNs, and each datagram.
    const fn tries(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Udp => self.datagrams(protocol),
            Protocol::Tcp | Protocol::Sctp => self.attempts,
        }
    }

    /// UDP within a pod never passes its interface, so what the socket lookup counted comes on top.
    const fn datagrams(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Udp => self.packets.saturating_add(self.attempts),
            Protocol::Tcp | Protocol::Sctp => self.packets,
        }
    }

    fn raise(&mut self, served: bool, reach: Reach) {
        if served {
            self.reach = self.reach.max(reach);
        }
    }

    fn raise_unlisted(&mut self, reach: Reach, is_listed: bool) {
        self.unlisted.raise(reach, is_listed);
        self.reach = self.reach.max(reach);
        self.has_new_callers = true;
    }

    fn store(&mut self, protocol: Protocol, peer: PeerCount, budget: usize, classify: Classify<'_>) {
        if self.peers.len() >= budget {
            self.truncated = true;
            // The pod's own calls matter least: they are evicted first, and evict no other peer.
            let is_own = |peer: &PeerCount| peer.origin == Origin::SamePod;
            let least = self
                .peers
                .iter()
                .enumerate()
                .min_by_key(|(_, p)| (!is_own(p), p.connections(protocol), p.packets, p.last_seen))
                .filter(|(_, least)| is_own(least) || !is_own(&peer));
            let Some(least) = least.map(|(index, _)| index) else {
                return self.unlist(protocol, peer, classify);
            };
            let gone = self.peers.remove(least);
            self.unlist(protocol, gone, classify);
        }
        if let Err(slot) = self.peers.binary_search_by(|known| known.address.cmp(&peer.address)) {
            self.has_new_peers = true;
            if self.peers.len() == self.peers.capacity() {
                // Doubling would leave a third of the memory of all peers unused.
                self.peers.reserve_exact(self.peers.len() / 8 + 4);
            }
            self.peers.insert(slot, peer);
        }
    }

    /// Keeps only the reach of a peer, which will not be classified again.
    fn unlist(&mut self, protocol: Protocol, mut peer: PeerCount, classify: Classify<'_>) {
        if !peer.settled {
            (peer.origin, peer.reference) = (classify.resolve)(peer.address);
            peer.settled = true;
        }
        if peer.is_own() {
            self.own_unlisted = self.own_unlisted.saturating_add(peer.connections(protocol));
        }
        if peer.served(protocol) {
            let is_listed = peer.reach() <= Reach::Node || (classify.is_listed)(peer.caller());
            self.raise_unlisted(peer.reach(), is_listed);
        }
    }
}
