//! The translated addresses through which callers reached one port: what was dialled, and by which client. Kept apart
//! from the peers, because connection tracking reports a connection before the counters report its peer.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::BootTime;
use crate::model::reach::Reach;
use crate::model::traffic::{Dialled, Origin, PeerOrigin, Traffic, Via};
use crate::rules::audience::{Caller, KnownLabels, PortAudience};
use crate::state::addresses::is_private;
use crate::state::classify::IsListed;
use crate::state::standing::{Standing, UnlistedReach};

/// Maximum number of paths kept per port, and of further paths that wait for their origin.
const MAX_NAT_PATHS: usize = 32;

/// One translated address through which a peer reached the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NatPath {
    /// True if the client's address is private. Public clients sort first and are kept, in whichever order they
    /// arrive.
    is_private: bool,
    /// What was dialled, and by which client.
    pub dialled: Dialled,
    /// The peer's address as the pod sees it.
    pub peer: IpAddr,
}

/// Result of tracing a path: the client, and what it dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TracedPath {
    /// Where the client is.
    pub origin: Origin,
    /// `NAMESPACE/NAME` of the client's pod, where known.
    pub reference: Option<Arc<str>>,
    /// The dialled address.
    pub via: Arc<Via>,
}

/// A path and what is known about it.
#[derive(Debug)]
struct KnownPath {
    path: NatPath,
    first_seen: BootTime,
    /// What the path means; `None` until it is traced.
    traced: Option<TracedPath>,
    /// True if a later trace cannot bring the client nearer, or the time for late facts is over.
    settled: bool,
    /// Whether the client is beyond the audience of an explained port.
    standing: Standing,
}

/// The NAT paths of one port.
#[derive(Debug, Default)]
pub(crate) struct NatPaths {
    /// The kept paths, sorted.
    kept: Vec<KnownPath>,
    /// Paths that did not fit, until their reach is certain.
    pending: Vec<KnownPath>,
    /// The farthest reach among paths that are not kept.
    unlisted: UnlistedReach,
    /// True if a path did not fit.
    is_truncated: bool,
    settle_at: Option<BootTime>,
}

impl NatPaths {
    /// Adds a path. Returns true if there is something new to settle. `room` is the number of paths that all ports
    /// together may still keep.
    pub(crate) fn add(&mut self, peer: IpAddr, dialled: Dialled, at: BootTime, room: usize) -> bool {
        let path = NatPath { is_private: is_private(dialled.from), dialled, peer };
        let slot = match self.kept.binary_search_by(|known| known.path.cmp(&path)) {
            Ok(known) => {
                if let Some(known) = self.kept.get_mut(known) {
                    known.first_seen = known.first_seen.min(at);
                }
                return false;
            }
            Err(slot) => slot,
        };
        let limit = MAX_NAT_PATHS.min(self.kept.len().saturating_add(room));
        let known =
            KnownPath { path, first_seen: at, traced: None, settled: false, standing: Standing::default() };
        if slot >= limit {
            return self.add_pending(known);
        }
        self.kept.insert(slot, known);
        while self.kept.len() > limit
            && let Some(last) = self.kept.pop()
        {
            self.add_pending(last);
        }
        true
    }

    /// Adds a path that does not fit until its reach is certain, so that the reach still counts for the verdict. Returns
    /// true if the path is new, or the first that does not fit.
    fn add_pending(&mut self, known: KnownPath) -> bool {
        let is_first = !std::mem::replace(&mut self.is_truncated, true);
        let is_known = self.unlisted.is_farthest() || self.pending.iter().any(|p| p.path == known.path);
        let is_held = !is_known && self.pending.len() < MAX_NAT_PATHS;
        if is_held {
            self.pending.push(known);
        }
        is_first || is_held
    }

    /// Returns the number of kept paths.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Returns the kept paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &NatPath> {
        self.kept.iter().map(|known| &known.path)
    }

    /// Marks every path to be traced again.
    pub(crate) fn retrace(&mut self) {
        for known in self.kept.iter_mut().chain(&mut self.pending) {
            known.traced = None;
            known.settled = false;
        }
    }

    /// Traces the paths that are not settled. Returns true if the meaning of one changed.
    pub(crate) fn settle(
        &mut self,
        now: BootTime,
        hold: Duration,
        trace: &dyn Fn(&NatPath) -> TracedPath,
        is_listed: IsListed<'_>,
    ) -> bool {
        let mut changed = false;
        let mut next = None;
        let all = self.kept.iter_mut().chain(&mut self.pending);
        for known in all.filter(|known| !known.settled) {
            let traced = trace(&known.path);
            let due = known.first_seen.after(hold);
            known.settled = is_certain(&traced) || due <= now;
            changed |= known.settled || known.traced.as_ref() != Some(&traced);
            known.traced = Some(traced);
            if !known.settled {
                next = Some(next.map_or(due, |next: BootTime| next.min(due)));
            }
        }
        for known in self.pending.extract_if(.., |known| known.settled) {
            if let Some(traced) = &known.traced {
                let reach = reach(traced);
                let is_listed = reach <= Reach::Node || is_listed(caller(&known.path, traced));
                self.unlisted.raise(reach, is_listed);
            }
        }
        self.settle_at = next;
        changed
    }

    /// Returns when to call [`Self::settle`] again.
    #[must_use]
    pub(crate) const fn settle_at(&self) -> Option<BootTime> {
        self.settle_at
    }

    /// Returns the farthest reach of all paths, kept or not.
    #[must_use]
    pub(crate) fn reach(&self) -> Reach {
        let settled = self.kept.iter().filter(|known| known.settled);
        let farthest = settled.filter_map(|known| known.traced.as_ref()).map(reach).max();
        farthest.unwrap_or_default().max(self.unlisted.all)
    }

    /// Judges which clients are beyond the audience of an explained port. Returns the farthest reach of them.
    pub(crate) fn settle_audience(&mut self, audience: &PortAudience<'_>, labels: &dyn KnownLabels) -> Reach {
        let mut beyond = self.unlisted.beyond(audience);
        for known in self.kept.iter_mut().filter(|known| known.settled) {
            let Some(traced) = &known.traced else { continue };
            let reach = reach(traced);
            known.standing.settle(reach, audience, caller(&known.path, traced), labels);
            if known.standing.is_beyond {
                beyond = beyond.max(reach);
            }
        }
        beyond
    }

    /// Returns true if the clients of this peer are known.
    #[must_use]
    pub(crate) fn stand_for(&self, peer: IpAddr) -> bool {
        self.kept.iter().any(|known| known.settled && known.path.peer == peer)
    }

    /// Returns true if a client is the pod of this name.
    #[must_use]
    pub(crate) fn has_client(&self, reference: &str) -> bool {
        let mut traced = self.kept.iter().filter_map(|known| known.traced.as_ref());
        traced.any(|traced| traced.reference.as_deref() == Some(reference))
    }

    /// Classifies a peer, given what its address alone says: the farthest of the clients behind it.
    #[must_use]
    pub(crate) fn origin_of(&self, peer: IpAddr, by_address: PeerOrigin) -> PeerOrigin {
        let mut origin_of = by_address;
        let mine = || self.kept.iter().filter(|known| known.path.peer == peer && known.settled);
        // Only the node replaces a client's address by its own.
        let is_unclaimed =
            origin_of.0 == Origin::External || (origin_of.0 == Origin::Pod && origin_of.1.is_none());
        if is_unclaimed && mine().any(|known| known.path.dialled.from != peer) {
            origin_of = (Origin::Node, None);
        }
        let worst = mine()
            .filter_map(|known| Some((known.traced.as_ref()?, &known.path)))
            .max_by_key(|(traced, path)| (traced.origin, Reverse(**path)));
        match worst {
            Some((traced, _)) if traced.origin >= origin_of.0 => (traced.origin, traced.reference.clone()),
            _ => origin_of,
        }
    }

    /// Returns true if the peer came through a kept path.
    #[must_use]
    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        self.kept.iter().any(|known| known.path.peer == peer)
    }

    /// Sets the dialled address of each peer; of several, the one whose client is farthest away.
    pub(crate) fn annotate(&self, traffic: &mut Traffic) {
        traffic.truncated |= self.is_truncated;
        for peer in &mut traffic.peers {
            let mine = || self.kept.iter().filter(|known| known.path.peer == peer.address);
            peer.is_beyond_audience |= mine().any(|known| known.standing.is_beyond);
            let traced = mine().filter_map(|known| Some((known.traced.as_ref()?, known)));
            let farthest = traced.max_by_key(|(traced, known)| {
                (known.settled, traced.origin, traced.via.kind, Reverse(known.path))
            });
            if let Some((traced, _)) = farthest {
                peer.via = Some(Arc::clone(&traced.via));
            }
        }
    }
}

/// Returns true if nothing that is learned later can bring the client nearer.
const fn is_certain(traced: &TracedPath) -> bool {
    matches!(traced.origin, Origin::SamePod | Origin::Node) || traced.reference.is_some()
}

/// Returns the client of a path.
fn caller<'a>(path: &NatPath, traced: &'a TracedPath) -> Caller<'a> {
    let reference = traced.reference.as_deref();
    Caller { origin: traced.origin, reference, address: path.peer, client: path.dialled.from }
}

/// Returns how far the client of a path is away.
fn reach(traced: &TracedPath) -> Reach {
    match traced.origin {
        Origin::SamePod | Origin::Node => Reach::Node,
        Origin::External => Reach::External,
        Origin::Pod | Origin::Service if traced.via.kind.is_public() => Reach::Published,
        Origin::Pod | Origin::Service => Reach::InCluster,
    }
}
