//! Counters of one peer of a port, and where the peer is.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, Protocol};
use crate::model::reach::Reach;
use crate::model::traffic::{Origin, Peer, PeerDelta, PeerOrigin};
use crate::rules::audience::Caller;
use crate::state::standing::Standing;

/// What takes the connections of a peer inside the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TakenBy {
    /// A socket of the port.
    #[default]
    Socket,
    /// A socket of this other port, to which a rule of the netns redirects the port.
    Proxy(NonZeroU16),
    /// A socket elsewhere, to which a rule of the netns forwards the port.
    Forward,
}

impl TakenBy {
    const fn proxy(self) -> Option<NonZeroU16> {
        match self {
            Self::Proxy(port) => Some(port),
            Self::Socket | Self::Forward => None,
        }
    }
}

/// Unit in which a peer keeps how long after it was first seen it was counted.
const COUNTED_UNIT: Duration = Duration::from_millis(16);

/// Counters of one peer.
#[derive(Clone, Debug)]
pub(crate) struct PeerCount {
    pub address: IpAddr,
    pub origin: Origin,
    /// False while the origin may still turn out nearer: a pod that was created a moment ago may not be known yet.
    pub settled: bool,
    is_forwarded: bool,
    /// Whether the peer is beyond the audience of an explained port.
    pub standing: Standing,
    /// The port that takes the peer's connections, if a rule redirects them there. The larger of several counts.
    proxy: Option<NonZeroU16>,
    /// Time from when the peer was first seen until it was first counted, in units of 16 ms, rounded up. A peer takes few
    /// bytes, because there may be 65,536.
    counted_after: u16,
    pub reference: Option<Arc<str>>,
    /// UDP datagrams that reached the socket lookup; handshakes for the other protocols. A protocol has only one of
    /// them.
    calls: u64,
    pub packets: u64,
    bytes: u64,
    first_seen: BootTime,
    pub last_seen: BootTime,
}

/// Returns the growth of a peer's calls.
const fn calls(protocol: Protocol, delta: &PeerDelta) -> u64 {
    match protocol {
        Protocol::Tcp | Protocol::Sctp => delta.connections,
        Protocol::Udp => delta.attempts,
    }
}

/// Returns the traffic of a peer in one drain that makes the port used: handshakes for TCP, datagrams for UDP (those at
/// the interface and those at the socket lookup are others), packets and handshakes for SCTP.
pub(crate) const fn peer_served(protocol: Protocol, delta: &PeerDelta) -> u64 {
    match protocol {
        Protocol::Tcp => delta.connections,
        Protocol::Udp => delta.packets.saturating_add(delta.attempts),
        Protocol::Sctp => delta.packets.saturating_add(delta.connections),
    }
}

impl PeerCount {
    pub(crate) fn new(
        protocol: Protocol,
        (delta, taken_by): (&PeerDelta, TakenBy),
        (origin, reference): PeerOrigin,
        at: BootTime,
    ) -> Self {
        let after = at.since(delta.first_seen).as_nanos().div_ceil(COUNTED_UNIT.as_nanos());
        Self {
            address: delta.address,
            origin,
            settled: true,
            is_forwarded: taken_by == TakenBy::Forward,
            standing: Standing::default(),
            proxy: taken_by.proxy(),
            counted_after: u16::try_from(after).unwrap_or(u16::MAX),
            reference,
            calls: calls(protocol, delta),
            packets: delta.packets,
            bytes: delta.bytes,
            first_seen: delta.first_seen,
            last_seen: at,
        }
    }

    pub(crate) fn add(&mut self, protocol: Protocol, (delta, taken_by): (&PeerDelta, TakenBy), at: BootTime) {
        self.calls = self.calls.saturating_add(calls(protocol, delta));
        self.packets = self.packets.saturating_add(delta.packets);
        self.bytes = self.bytes.saturating_add(delta.bytes);
        self.first_seen = self.first_seen.min(delta.first_seen);
        self.last_seen = self.last_seen.max(at);
        self.is_forwarded |= taken_by == TakenBy::Forward;
        self.proxy = self.proxy.max(taken_by.proxy());
    }

    /// Returns what takes the peer's connections; of several the last that [`TakenBy`] names.
    pub(crate) const fn taken_by(&self) -> TakenBy {
        match self.proxy {
            _ if self.is_forwarded => TakenBy::Forward,
            Some(port) => TakenBy::Proxy(port),
            None => TakenBy::Socket,
        }
    }

    pub(crate) fn counted_at(&self) -> BootTime {
        self.first_seen.after(COUNTED_UNIT.saturating_mul(self.counted_after.into()))
    }

    pub(crate) const fn connections(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp | Protocol::Sctp => self.calls,
            Protocol::Udp => 0,
        }
    }

    /// Returns true for a caller inside the pod whose connections a socket of the port takes. A proxy in the pod calls
    /// like this.
    pub(crate) fn is_own(&self) -> bool {
        self.origin == Origin::SamePod && self.taken_by() == TakenBy::Socket
    }

    /// Returns true if a handshake completed or datagrams were received. An attempt alone is not traffic.
    pub(crate) const fn served(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.calls > 0,
            Protocol::Udp | Protocol::Sctp => self.calls > 0 || self.packets > 0 || self.is_forwarded,
        }
    }

    /// Returns true if nothing that is learned later can bring the peer nearer.
    pub(crate) fn is_certain(&self) -> bool {
        match self.origin {
            Origin::SamePod | Origin::Node | Origin::Service => true,
            // A pod without a name may still turn out to be the pod itself or the node.
            Origin::Pod => self.reference.is_some(),
            Origin::External => false,
        }
    }

    pub(crate) const fn reach(&self) -> Reach {
        match self.origin {
            Origin::SamePod | Origin::Node => Reach::Node,
            // An uncertain origin counts once the hold is over and nothing nearer turned up.
            _ if !self.settled => Reach::Nothing,
            Origin::Pod | Origin::Service => Reach::InCluster,
            Origin::External => Reach::External,
        }
    }

    /// Returns the peer as a caller.
    pub(crate) fn caller(&self) -> Caller<'_> {
        let reference = self.reference.as_deref();
        Caller { origin: self.origin, reference, address: self.address, client: self.address }
    }

    /// Returns the peer as reports show it, without the address that it dialled.
    pub(crate) fn report(&self, protocol: Protocol) -> Peer {
        let lookups = if protocol == Protocol::Udp { self.calls } else { 0 };
        Peer {
            address: self.address,
            origin: self.origin,
            reference: self.reference.as_deref().map(str::to_owned),
            via: None,
            is_beyond_audience: self.standing.is_beyond,
            connections: self.connections(protocol),
            packets: self.packets.saturating_add(lookups),
            bytes: self.bytes,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        }
    }

    /// Returns the counters as one delta, to be counted for another port.
    pub(crate) fn to_delta(&self, protocol: Protocol) -> PeerDelta {
        PeerDelta {
            address: self.address,
            first_seen: self.first_seen,
            attempts: if protocol == Protocol::Udp { self.calls } else { 0 },
            connections: self.connections(protocol),
            packets: self.packets,
            bytes: self.bytes,
            addressed_first: false,
            accepted_by: None,
        }
    }
}
