//! Traffic of one port: exact totals, and the busiest peers within the caps. A peer that does not fit sets
//! `truncated`. The farthest reach is kept apart from the peer list, so evicting a peer cannot lower a verdict.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, Protocol};
use crate::model::reach::Reach;
use crate::model::traffic::{Origin, Peer, PeerDelta, PeerOrigin, PortDelta, Traffic};
use crate::state::nat_paths::NatPaths;

/// Counters of one peer.
#[derive(Clone, Debug)]
struct PeerCount {
    address: IpAddr,
    origin: Origin,
    /// False while the origin may still turn out nearer: a pod that was created a moment ago may not be known yet.
    settled: bool,
    /// Time from when the peer was first seen until it was first counted, in milliseconds, rounded up.
    counted_after_ms: u32,
    reference: Option<Arc<str>>,
    /// UDP datagrams that reached the socket lookup; handshakes for the other protocols. A protocol has only one of
    /// them.
    calls: u64,
    packets: u64,
    bytes: u64,
    first_seen: BootTime,
    last_seen: BootTime,
}

/// Bounds on the peers of a port, and how long an origin may still change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerLimits {
    /// Maximum number of peers of this port.
    pub per_listener: usize,
    /// Number of peers that all ports together may still add.
    pub left: usize,
    /// How long an origin may still turn out nearer.
    pub hold: Duration,
}

/// Classifies an address.
pub(crate) type Resolve<'a> = &'a dyn Fn(IpAddr) -> PeerOrigin;

/// How many addresses called, listed as peers or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Callers {
    /// No address.
    #[default]
    None,
    /// One address.
    One(IpAddr),
    /// More than one address.
    Several,
}

impl Callers {
    fn count(&mut self, caller: IpAddr) {
        *self = match *self {
            Self::None => Self::One(caller),
            Self::One(known) if known == caller => Self::One(known),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

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
    /// How many addresses called.
    callers: Callers,
    /// The farthest reach of served traffic.
    reach: Reach,
    /// The farthest reach of peers that are not listed: evicted, without room, or evicted by the kernel.
    unlisted: Reach,
    /// Served traffic of all drained peers, listed or not. What the port served beyond that belongs to peers that the
    /// kernel evicted before a drain.
    named: u64,
    /// Since when the port served more than its peers. If that lasts, the kernel evicted some before they were
    /// drained.
    unnamed_since: Option<BootTime>,
    /// True if a peer or its origin changed since the last report.
    pub has_new_peers: bool,
    /// When an origin will be settled.
    settle_at: Option<BootTime>,
}

impl PortTraffic {
    /// Adds one drain. Returns the new connections by origin.
    pub(crate) fn absorb(
        &mut self,
        protocol: Protocol,
        delta: &PortDelta,
        at: BootTime,
        limits: PeerLimits,
        resolve: Resolve<'_>,
    ) -> Vec<(Origin, u64)> {
        self.attempts = self.attempts.saturating_add(delta.attempts);
        self.connections = self.connections.saturating_add(delta.connections);
        self.packets = self.packets.saturating_add(delta.packets);
        self.bytes = self.bytes.saturating_add(delta.bytes);
        self.last_seen = self.last_seen.max(Some(at));
        self.truncated |= delta.peers_created > u64::try_from(delta.peers.len()).unwrap_or(u64::MAX);
        let mut by_origin = Vec::new();
        let budget = self.peers.len().saturating_add(limits.left).min(limits.per_listener);
        if self.peers.is_empty() {
            // Growing step by step fragments the heap.
            self.peers.reserve_exact(delta.peers.len().min(budget));
        }
        for peer in &delta.peers {
            self.callers.count(peer.address);
            let origin = self.absorb_peer(protocol, peer, at, (budget, limits.hold), resolve);
            if peer.connections > 0 {
                by_origin.push((origin, peer.connections));
            }
            self.named = self.named.saturating_add(peer_served(protocol, peer));
        }
        self.check_unnamed(protocol, at, limits.hold);
        by_origin
    }

    /// Notes whether the port served more than its peers. The kernel's port and peer counters are read one after the
    /// other, so a short difference means nothing.
    fn check_unnamed(&mut self, protocol: Protocol, at: BootTime, hold: Duration) {
        if self.unlisted >= Reach::InCluster || self.served(protocol) <= self.named {
            self.unnamed_since = None;
        } else if self.unnamed_since.is_none() {
            self.unnamed_since = Some(at);
            self.schedule_settle(at.after(hold));
        }
    }

    /// Counts unnamed callers as at least a pod, once the difference outlasted the hold. Returns when that will be,
    /// if it is not yet.
    fn count_unnamed(&mut self, now: BootTime, hold: Duration) -> Option<BootTime> {
        let due = self.unnamed_since?.after(hold);
        if due > now {
            return Some(due);
        }
        self.unnamed_since = None;
        self.truncated = true;
        self.raise_unlisted(true, Reach::InCluster);
        self.has_new_peers = true;
        None
    }

    /// Returns the traffic that makes a port used, from the port's counters: handshakes for TCP, socket lookups for
    /// UDP, packets and handshakes for SCTP. Lookups are added to port and peer at once, packets one after the other.
    const fn served(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp => self.connections,
            Protocol::Udp => self.attempts,
            Protocol::Sctp => self.packets.saturating_add(self.connections),
        }
    }

    fn schedule_settle(&mut self, at: BootTime) {
        self.settle_at = Some(self.settle_at.map_or(at, |before| before.min(at)));
    }

    fn absorb_peer(
        &mut self,
        protocol: Protocol,
        delta: &PeerDelta,
        at: BootTime,
        (budget, hold): (usize, Duration),
        resolve: Resolve<'_>,
    ) -> Origin {
        let slot = self.peers.binary_search_by(|peer| peer.address.cmp(&delta.address));
        if let Ok(known) = slot
            && let Some(peer) = self.peers.get_mut(known)
        {
            peer.add(protocol, delta, at);
            if peer.reference.is_none() && peer.origin == Origin::Pod {
                peer.reference = resolve(peer.address).1;
                self.has_new_peers |= peer.reference.is_some();
            }
            let (served, reach) = (peer.served(protocol), peer.reach());
            self.raise(served, reach);
            return self.peers.get(known).map_or(Origin::External, |peer| peer.origin);
        }
        let mut peer = PeerCount::new(protocol, delta, resolve(delta.address), at);
        let origin = peer.origin;
        peer.settled = peer.is_certain() || hold.is_zero();
        if !peer.settled {
            self.schedule_settle(at.after(hold));
        }
        self.raise(peer.served(protocol), peer.reach());
        self.store(protocol, peer, budget, resolve);
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

    fn sum_up_reach(&mut self, protocol: Protocol) {
        let listed = self.peers.iter().filter(|p| p.served(protocol)).map(PeerCount::reach).max();
        self.reach = self.unlisted.max(listed.unwrap_or_default());
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

    /// Adds the totals, not the peers, to a sum over ports.
    pub(crate) fn add_to(&self, protocol: Protocol, sum: &mut Traffic) {
        sum.attempts = sum.attempts.saturating_add(self.attempts);
        sum.connections = sum.connections.saturating_add(self.connections);
        sum.packets = sum.packets.saturating_add(datagrams(protocol, self.packets, self.attempts));
        sum.bytes = sum.bytes.saturating_add(self.bytes);
        sum.last_seen = sum.last_seen.max(self.last_seen);
        sum.truncated |= self.truncated || !self.peers.is_empty();
    }

    /// Returns the origin of each kept peer.
    pub(crate) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.peers.iter().map(|peer| peer.origin)
    }

    /// Returns true if more than one address called, as far as is known.
    #[must_use]
    pub(crate) const fn is_called_by_several(&self) -> bool {
        matches!(self.callers, Callers::Several)
    }

    /// Returns the number of kept peers.
    #[must_use]
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Returns the traffic as reports show it. UDP within a pod never passes its interface, so socket lookups count
    /// too.
    #[must_use]
    pub(crate) fn report(&self, protocol: Protocol) -> Traffic {
        let mut peers: Vec<Peer> = self.peers.iter().map(|peer| peer.report(protocol)).collect();
        peers.sort_by(|a, b| {
            (b.connections, b.packets, a.address).cmp(&(a.connections, a.packets, b.address))
        });
        Traffic {
            attempts: self.attempts,
            connections: self.connections,
            packets: datagrams(protocol, self.packets, self.attempts),
            bytes: self.bytes,
            last_seen: self.last_seen,
            peers,
            truncated: self.truncated,
        }
    }

    fn raise(&mut self, served: bool, reach: Reach) {
        if served {
            self.reach = self.reach.max(reach);
        }
    }

    fn raise_unlisted(&mut self, served: bool, reach: Reach) {
        if served {
            self.unlisted = self.unlisted.max(reach);
            self.reach = self.reach.max(reach);
        }
    }

    fn store(&mut self, protocol: Protocol, peer: PeerCount, budget: usize, resolve: Resolve<'_>) {
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
                return self.unlist(protocol, peer, resolve);
            };
            let gone = self.peers.remove(least);
            self.unlist(protocol, gone, resolve);
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
    fn unlist(&mut self, protocol: Protocol, mut peer: PeerCount, resolve: Resolve<'_>) {
        if !peer.settled {
            (peer.origin, _) = resolve(peer.address);
            peer.settled = true;
        }
        self.raise_unlisted(peer.served(protocol), peer.reach());
    }
}

/// Returns the growth of a peer's calls.
const fn calls(protocol: Protocol, delta: &PeerDelta) -> u64 {
    match protocol {
        Protocol::Tcp | Protocol::Sctp => delta.connections,
        Protocol::Udp => delta.attempts,
    }
}

/// Returns the served traffic of a peer in one drain; see [`PortTraffic::served`].
const fn peer_served(protocol: Protocol, delta: &PeerDelta) -> u64 {
    match protocol {
        Protocol::Tcp => delta.connections,
        Protocol::Udp => delta.attempts,
        Protocol::Sctp => delta.packets.saturating_add(delta.connections),
    }
}

impl PeerCount {
    fn new(
        protocol: Protocol,
        delta: &PeerDelta,
        (origin, reference): (Origin, Option<Arc<str>>),
        at: BootTime,
    ) -> Self {
        let after_ms = at.since(delta.first_seen).as_nanos().div_ceil(1_000_000);
        Self {
            address: delta.address,
            origin,
            settled: true,
            counted_after_ms: u32::try_from(after_ms).unwrap_or(u32::MAX),
            reference,
            calls: calls(protocol, delta),
            packets: delta.packets,
            bytes: delta.bytes,
            first_seen: delta.first_seen,
            last_seen: at,
        }
    }

    fn add(&mut self, protocol: Protocol, delta: &PeerDelta, at: BootTime) {
        self.calls = self.calls.saturating_add(calls(protocol, delta));
        self.packets = self.packets.saturating_add(delta.packets);
        self.bytes = self.bytes.saturating_add(delta.bytes);
        self.first_seen = self.first_seen.min(delta.first_seen);
        self.last_seen = self.last_seen.max(at);
    }

    fn counted_at(&self) -> BootTime {
        self.first_seen.after(Duration::from_millis(self.counted_after_ms.into()))
    }

    const fn connections(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp | Protocol::Sctp => self.calls,
            Protocol::Udp => 0,
        }
    }

    /// Returns true if a handshake completed or datagrams were received. An attempt alone is not traffic.
    const fn served(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.calls > 0,
            Protocol::Udp | Protocol::Sctp => self.calls > 0 || self.packets > 0,
        }
    }

    /// Returns true if nothing that is learned later can bring the peer nearer.
    fn is_certain(&self) -> bool {
        match self.origin {
            Origin::SamePod | Origin::Node | Origin::Service => true,
            // A pod without a name may still turn out to be the pod itself or the node.
            Origin::Pod => self.reference.is_some(),
            Origin::External => false,
        }
    }

    const fn reach(&self) -> Reach {
        match self.origin {
            Origin::SamePod | Origin::Node => Reach::Node,
            // An uncertain origin counts once the hold is over and nothing nearer turned up.
            _ if !self.settled => Reach::Nothing,
            Origin::Pod | Origin::Service => Reach::InCluster,
            Origin::External => Reach::External,
        }
    }

    fn report(&self, protocol: Protocol) -> Peer {
        Peer {
            address: self.address,
            origin: self.origin,
            reference: self.reference.as_deref().map(str::to_owned),
            via: None,
            connections: self.connections(protocol),
            packets: datagrams(protocol, self.packets, self.calls),
            bytes: self.bytes,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        }
    }
}

fn datagrams(protocol: Protocol, packets: u64, attempts: u64) -> u64 {
    if protocol == Protocol::Udp { packets.max(attempts) } else { packets }
}
