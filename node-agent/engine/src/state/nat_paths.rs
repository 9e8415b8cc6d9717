//! The translated addresses through which callers reached one port: what was dialled, and by which client. Kept beside
//! the peers, because connection tracking reports a connection before the counters report its peer.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::BootTime;
use crate::model::reach::Reach;
use crate::model::traffic::{Dialled, Origin, PeerOrigin, Traffic, Via};
use crate::state::addresses::is_private;

/// Ways into one port that are kept, and of those that are not, so many that are not certain yet.
const MAX_NAT_PATHS: usize = 32;

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatPath {
    /// Those that may be from outside come first and are kept, whatever came earlier.
    is_private: bool,
    pub dialled: Dialled,
    /// The caller's address as the pod sees it.
    pub peer: IpAddr,
}

/// What a way means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedPath {
    /// Of the client itself.
    pub origin: Origin,
    pub reference: Option<Arc<str>>,
    pub via: Arc<Via>,
}

#[derive(Debug)]
struct KnownPath {
    path: NatPath,
    first_seen: BootTime,
    /// `None`: to be traced.
    traced: Option<TracedPath>,
    /// The origin will not turn out better.
    settled: bool,
}

/// The ways into one port.
#[derive(Debug, Default)]
pub struct NatPaths {
    /// In their order.
    kept: Vec<KnownPath>,
    /// Those that found no room, until it is certain from how far they lead in.
    pending: Vec<KnownPath>,
    /// The farthest of those that passed.
    unlisted: Reach,
    is_truncated: bool,
    settle_at: Option<BootTime>,
}

impl NatPaths {
    /// Takes one in; true if there is something new to settle. `room` says how many more all ports together may keep.
    pub fn add(&mut self, peer: IpAddr, dialled: Dialled, at: BootTime, room: usize) -> bool {
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
        let known = KnownPath { path, first_seen: at, traced: None, settled: false };
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

    /// One that is not kept still counts for the verdict; true if that is news.
    fn add_pending(&mut self, known: KnownPath) -> bool {
        let is_first = !std::mem::replace(&mut self.is_truncated, true);
        let is_known = self.unlisted == Reach::External || self.pending.iter().any(|p| p.path == known.path);
        let is_held = !is_known && self.pending.len() < MAX_NAT_PATHS;
        if is_held {
            self.pending.push(known);
        }
        is_first || is_held
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn paths(&self) -> impl Iterator<Item = &NatPath> {
        self.kept.iter().map(|known| &known.path)
    }

    /// What is known of them may be known better now.
    pub fn retrace(&mut self) {
        for known in self.kept.iter_mut().chain(&mut self.pending) {
            known.traced = None;
            known.settled = false;
        }
    }

    /// Traces what is not certain; true if something turned out otherwise.
    pub fn settle(&mut self, now: BootTime, hold: Duration, trace: &dyn Fn(&NatPath) -> TracedPath) -> bool {
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
        let passed = self.pending.extract_if(.., |known| known.settled);
        let farthest = passed.filter_map(|known| known.traced.as_ref().map(reach)).max();
        self.unlisted = self.unlisted.max(farthest.unwrap_or_default());
        self.settle_at = next;
        changed
    }

    #[must_use]
    pub const fn settle_at(&self) -> Option<BootTime> {
        self.settle_at
    }

    /// From how far those came who came so, whether or not they are kept.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let settled = self.kept.iter().filter(|known| known.settled);
        let farthest = settled.filter_map(|known| known.traced.as_ref()).map(reach).max();
        farthest.unwrap_or_default().max(self.unlisted)
    }

    /// Where a peer is, from what its address alone says: the worst of those that came by it.
    #[must_use]
    pub fn origin_of(&self, peer: IpAddr, by_address: PeerOrigin) -> PeerOrigin {
        let mut origin_of = by_address;
        let mine = || self.kept.iter().filter(|known| known.path.peer == peer && known.settled);
        // Nobody but the node gives its own address to others' connections.
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

    #[must_use]
    pub fn has(&self, peer: IpAddr) -> bool {
        self.kept.iter().any(|known| known.path.peer == peer)
    }

    /// Says of each peer what it dialled; of several the one that leads in from farthest.
    pub fn annotate(&self, traffic: &mut Traffic) {
        traffic.truncated |= self.is_truncated;
        for peer in &mut traffic.peers {
            let mine = self.kept.iter().filter(|known| known.path.peer == peer.address);
            let traced = mine.filter_map(|known| Some((known.traced.as_ref()?, known)));
            let limit = traced.max_by_key(|(traced, known)| {
                (known.settled, traced.origin, traced.via.kind, Reverse(known.path))
            });
            peer.via = limit.map(|(traced, _)| Arc::clone(&traced.via));
        }
    }
}

/// Nothing that is learned later can bring the client nearer.
const fn is_certain(traced: &TracedPath) -> bool {
    matches!(traced.origin, Origin::SamePod | Origin::Node) || traced.reference.is_some()
}

fn reach(traced: &TracedPath) -> Reach {
    match traced.origin {
        Origin::SamePod | Origin::Node => Reach::Node,
        Origin::External => Reach::External,
        Origin::Pod | Origin::Service if traced.via.kind.is_public() => Reach::Published,
        Origin::Pod | Origin::Service => Reach::InCluster,
    }
}
