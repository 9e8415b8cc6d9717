//! By which addresses callers came to a port, where this node translated them: what was dialled, and by whom. Kept beside
//! the peers, since a connection tells it before the counters tell of its peer.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::change::{Origin, Traffic, Via};
use super::identity::BootTime;
use super::input::Dialled;
use super::origin::is_private;
use super::traffic::{Place, Reach};

/// Ways into one port that are kept, and of those that are not, so many that are not certain yet.
const MAX_WAYS: usize = 32;

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Those that may be from outside come first and are kept, whatever came earlier.
    is_private: bool,
    pub dialled: Dialled,
    /// The caller's address as the pod sees it.
    pub peer: IpAddr,
}

/// What a way means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Of the client itself.
    pub origin: Origin,
    pub reference: Option<Arc<str>>,
    pub via: Arc<Via>,
}

#[derive(Debug)]
struct KnownWay {
    way: Way,
    first_seen: BootTime,
    /// `None`: to be traced.
    traced: Option<Traced>,
    /// The origin will not turn out better.
    settled: bool,
}

/// The ways into one port.
#[derive(Debug, Default)]
pub struct WaysIn {
    /// In their order.
    list: Vec<KnownWay>,
    /// Those that found no room, until it is certain from how far they lead in.
    passing: Vec<KnownWay>,
    /// The farthest of those that passed.
    unlisted: Reach,
    is_cut: bool,
    settle_at: Option<BootTime>,
}

impl WaysIn {
    /// Takes one in; true if there is something new to settle. `room` says how many more all ports together may keep.
    pub fn add(&mut self, peer: IpAddr, dialled: Dialled, at: BootTime, room: usize) -> bool {
        let way = Way { is_private: is_private(dialled.from), dialled, peer };
        let slot = match self.list.binary_search_by(|known| known.way.cmp(&way)) {
            Ok(known) => {
                if let Some(known) = self.list.get_mut(known) {
                    known.first_seen = known.first_seen.min(at);
                }
                return false;
            }
            Err(slot) => slot,
        };
        let most = MAX_WAYS.min(self.list.len().saturating_add(room));
        let known = KnownWay { way, first_seen: at, traced: None, settled: false };
        if slot >= most {
            return self.pass(known);
        }
        self.list.insert(slot, known);
        while self.list.len() > most
            && let Some(last) = self.list.pop()
        {
            self.pass(last);
        }
        true
    }

    /// One that is not kept still counts for the verdict; true if that is news.
    fn pass(&mut self, known: KnownWay) -> bool {
        let is_first = !std::mem::replace(&mut self.is_cut, true);
        let is_known = self.unlisted == Reach::External || self.passing.iter().any(|p| p.way == known.way);
        let is_held = !is_known && self.passing.len() < MAX_WAYS;
        if is_held {
            self.passing.push(known);
        }
        is_first || is_held
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.list.iter().map(|known| &known.way)
    }

    /// What is known of them may be known better now.
    pub fn trace_again(&mut self) {
        for known in self.list.iter_mut().chain(&mut self.passing) {
            known.traced = None;
            known.settled = false;
        }
    }

    /// Traces what is not certain; true if something turned out otherwise.
    pub fn settle(&mut self, now: BootTime, hold: Duration, trace: &dyn Fn(&Way) -> Traced) -> bool {
        let mut changed = false;
        let mut next = None;
        let all = self.list.iter_mut().chain(&mut self.passing);
        for known in all.filter(|known| !known.settled) {
            let traced = trace(&known.way);
            let due = known.first_seen.after(hold);
            known.settled = is_certain(&traced) || due <= now;
            changed |= known.settled || known.traced.as_ref() != Some(&traced);
            known.traced = Some(traced);
            if !known.settled {
                next = Some(next.map_or(due, |next: BootTime| next.min(due)));
            }
        }
        let passed = self.passing.extract_if(.., |known| known.settled);
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
        let settled = self.list.iter().filter(|known| known.settled);
        let farthest = settled.filter_map(|known| known.traced.as_ref()).map(reach).max();
        farthest.unwrap_or_default().max(self.unlisted)
    }

    /// Where a peer is, from what its address alone says: the worst of those that came by it.
    #[must_use]
    pub fn place(&self, peer: IpAddr, by_address: Place) -> Place {
        let mut place = by_address;
        let mine = || self.list.iter().filter(|known| known.way.peer == peer && known.settled);
        // Nobody but the node gives its own address to others' connections.
        let is_unclaimed = place.0 == Origin::External || (place.0 == Origin::Pod && place.1.is_none());
        if is_unclaimed && mine().any(|known| known.way.dialled.from != peer) {
            place = (Origin::Node, None);
        }
        let worst = mine()
            .filter_map(|known| Some((known.traced.as_ref()?, &known.way)))
            .max_by_key(|(traced, way)| (traced.origin, Reverse(**way)));
        match worst {
            Some((traced, _)) if traced.origin >= place.0 => (traced.origin, traced.reference.clone()),
            _ => place,
        }
    }

    #[must_use]
    pub fn has(&self, peer: IpAddr) -> bool {
        self.list.iter().any(|known| known.way.peer == peer)
    }

    /// Says of each peer what it dialled; of several the one that leads in from farthest.
    pub fn annotate(&self, traffic: &mut Traffic) {
        traffic.truncated |= self.is_cut;
        for peer in &mut traffic.peers {
            let mine = self.list.iter().filter(|known| known.way.peer == peer.address);
            let traced = mine.filter_map(|known| Some((known.traced.as_ref()?, known)));
            let most = traced.max_by_key(|(traced, known)| {
                (known.settled, traced.origin, traced.via.door, Reverse(known.way))
            });
            peer.via = most.map(|(traced, _)| Arc::clone(&traced.via));
        }
    }
}

/// Nothing that is learned later can bring the client nearer.
const fn is_certain(traced: &Traced) -> bool {
    matches!(traced.origin, Origin::SamePod | Origin::Node) || traced.reference.is_some()
}

fn reach(traced: &Traced) -> Reach {
    match traced.origin {
        Origin::SamePod | Origin::Node => Reach::Node,
        Origin::External => Reach::External,
        Origin::Pod | Origin::Service if traced.via.door.is_public() => Reach::Published,
        Origin::Pod | Origin::Service => Reach::InCluster,
    }
}
