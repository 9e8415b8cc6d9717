//! One port of one netns inside the engine: its sockets, what they amount to, and what was told about it.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::change::{DeclarationStatus, Exposure, Traffic};
use super::fingerprint::Fnv;
use super::identity::{BootTime, Protocol, SocketCookie};
use super::input::Process;
use super::pod_index::PodKey;
use super::socket_table::{SocketTable, SocketView};
use super::tenure::Tenure;
use super::traffic::{PortTraffic, Reach};
use super::way_in::WaysIn;

/// Sockets of one port that are looked at; a group may have thousands, all alike.
const MAX_LOOKED_AT: usize = 256;
/// Addresses of one port that are kept.
const MAX_ADDRESSES: usize = 64;
/// Programs beside the first that are told apart among those that serve one port.
const MAX_OTHERS: usize = 8;

/// What the sockets of a port look like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// Sorted; where some were cut off, those that are not loopback stayed.
    pub addresses: Vec<IpAddr>,
    /// A socket is bound to something else than loopback, whether it is among those looked at or not.
    pub beyond_loopback: bool,
    pub v6_only: bool,
    /// The first one that is known, to be shown. What is decided asks for all of them.
    pub process: Option<Arc<Process>>,
    /// One process of each other program or cgroup that serves it too; `None` for sockets of which nothing is known.
    others: Box<[Option<Arc<Process>>]>,
    pub opened_at: Option<BootTime>,
    /// Since when the port is served, short breaks aside.
    pub first_at: BootTime,
    pub sockets: usize,
}

/// The sockets of one port, sorted. Most ports have one, for which a tree would take a hundred bytes.
#[derive(Debug, Default)]
pub struct Cookies(Vec<SocketCookie>);

impl Cookies {
    pub fn insert(&mut self, cookie: SocketCookie) {
        if let Err(slot) = self.0.binary_search(&cookie) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(slot, cookie);
        }
    }

    pub fn remove(&mut self, cookie: SocketCookie) {
        if let Ok(slot) = self.0.binary_search(&cookie) {
            self.0.remove(slot);
            if self.0.capacity() > 4 * self.0.len() + 4 {
                self.0.shrink_to(2 * self.0.len());
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = SocketCookie> {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One port.
#[derive(Debug)]
pub struct Port {
    pub sockets: Cookies,
    /// How many of them are bound to something else than loopback.
    pub beyond_loopback: usize,
    /// `None` while only traffic is known of it.
    pub face: Option<Face>,
    /// Latest scan that listed a socket of it. Apart from the face: by itself it makes nothing to tell.
    pub scanned_at: Option<BootTime>,
    pub pod: Option<PodKey>,
    pub id: u64,
    pub status: DeclarationStatus,
    /// Mark of what was last printed; `None` if nothing was.
    pub printed: Option<u64>,
    pub tenure: Tenure,
    /// When the last socket ended.
    pub closed_at: Option<BootTime>,
    /// When the engine first heard of it.
    pub heard_at: BootTime,
    pub watched: bool,
    /// Its counting was ended, and nothing happened since that made the kernel begin it anew.
    pub dismissed: bool,
    pub recording: bool,
    /// An ephemeral UDP port that proved to be a server.
    pub serves: bool,
    pub traffic: PortTraffic,
    /// Boxed: most ports have none.
    pub ways: Option<Box<WaysIn>>,
}

impl Port {
    #[must_use]
    pub fn new(now: BootTime) -> Self {
        Self {
            sockets: Cookies::default(),
            beyond_loopback: 0,
            face: None,
            scanned_at: None,
            pod: None,
            id: 0,
            status: DeclarationStatus::Unknown,
            printed: None,
            tenure: Tenure::default(),
            closed_at: None,
            heard_at: now,
            watched: false,
            dismissed: false,
            recording: false,
            serves: false,
            traffic: PortTraffic::default(),
            ways: None,
        }
    }

    /// Its traffic as reports show it.
    #[must_use]
    pub fn report(&self, protocol: Protocol) -> Traffic {
        let mut traffic = self.traffic.report(protocol);
        if let Some(ways) = &self.ways {
            ways.annotate(&mut traffic);
        }
        traffic
    }

    /// From how far those came whom it served.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let ways = self.ways.as_deref().map(WaysIn::reach).unwrap_or_default();
        self.traffic.reach().max(ways)
    }

    /// When the origin of a caller will be certain.
    #[must_use]
    pub fn settle_at(&self) -> Option<BootTime> {
        let ways = self.ways.as_deref().and_then(WaysIn::settle_at);
        self.traffic.settle_at().into_iter().chain(ways).min()
    }

    /// The process that stands for all of its sockets as far as containers go.
    #[must_use]
    pub fn resident(&self) -> Option<&Process> {
        self.face.as_ref().and_then(Face::resident)
    }

    /// No container is known to declare it.
    #[must_use]
    pub fn is_undeclared(&self) -> bool {
        self.status != DeclarationStatus::Declared
    }

    /// Looks at the sockets again; keeps the last face when none is left. Breaks no longer than `patience` are none.
    pub fn refresh(&mut self, floor: BootTime, table: &SocketTable, patience: Duration) {
        let looked_at = self.sockets.iter().take(MAX_LOOKED_AT).filter_map(|cookie| {
            let socket = table.get(cookie)?;
            Some((socket.view(floor)?, socket.process()))
        });
        let views: Vec<(SocketView, Option<&Arc<Process>>)> = looked_at.collect();
        if let Some(mut face) = Face::of(&views, self.sockets.len()) {
            face.beyond_loopback |= self.beyond_loopback > 0;
            face.first_at = self.tenure.go_on(face.first_at, patience);
            self.scanned_at = views.iter().filter_map(|(view, _)| view.scanned_at).max();
            self.face = Some(face);
            self.closed_at = None;
        }
    }

    /// A mark of all that makes a listener worth printing again; `said` is one of its container and its declaration.
    #[must_use]
    pub fn mark(&self, said: u64) -> u64 {
        let mut fnv = Fnv::default();
        if let Some(face) = &self.face {
            face.addresses.hash(&mut fnv);
            face.v6_only.hash(&mut fnv);
            let process = face.process.as_ref().map(|p| (p.pid, &p.name, &p.executable));
            process.hash(&mut fnv);
        }
        self.pod.hash(&mut fnv);
        self.status.hash(&mut fnv);
        said.hash(&mut fnv);
        fnv.finish()
    }
}

/// Every IPv6 socket refuses IPv4, and there is one.
fn is_v6_only<'a>(views: impl Iterator<Item = &'a SocketView>) -> bool {
    let mut refusing =
        views.filter(|view| view.address.is_ipv6()).map(|view| view.v6_only == Some(true)).peekable();
    refusing.peek().is_some() && refusing.all(|refuses| refuses)
}

impl Face {
    /// From where the port can be reached.
    #[must_use]
    pub const fn exposure(&self, host: bool) -> Exposure {
        match (self.beyond_loopback, host) {
            (false, _) => Exposure::Loopback,
            (true, true) => Exposure::Host,
            (true, false) => Exposure::Pod,
        }
    }

    /// One process of each program and cgroup that serves it; `None` stands for those of which nothing is known.
    pub fn processes(&self) -> impl Iterator<Item = Option<&Process>> {
        std::iter::once(&self.process).chain(&self.others).map(Option::as_deref)
    }

    /// A process that stands for all as far as containers go: `None` where they are in several cgroups, or one is not known.
    #[must_use]
    pub fn resident(&self) -> Option<&Process> {
        let first = self.process.as_deref()?;
        let with_first = |other: &Option<Arc<Process>>| {
            other.as_ref().is_some_and(|other| other.cgroup.is_some() && other.cgroup == first.cgroup)
        };
        self.others.iter().all(with_first).then_some(first)
    }

    /// What these sockets amount to; `None` for none.
    #[must_use]
    pub fn of(views: &[(SocketView, Option<&Arc<Process>>)], sockets: usize) -> Option<Self> {
        let first_at = views.iter().map(|(view, _)| view.first_at).min()?;
        let mut addresses: Vec<IpAddr> = views.iter().map(|(view, _)| view.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let beyond_loopback = addresses.iter().any(|address| !address.is_loopback());
        if addresses.len() > MAX_ADDRESSES {
            addresses.sort_by_key(IpAddr::is_loopback);
            addresses.truncate(MAX_ADDRESSES);
            addresses.sort_unstable();
        }
        addresses.shrink_to_fit();
        let opened: Option<Vec<BootTime>> = views.iter().map(|(view, _)| view.opened_at).collect();
        let process = views.iter().find_map(|(_, process)| process.cloned());
        Some(Self {
            others: others(views, process.as_ref(), sockets),
            process,
            addresses,
            beyond_loopback,
            v6_only: is_v6_only(views.iter().map(|(view, _)| view)),
            opened_at: opened.and_then(|times| times.into_iter().min()),
            first_at,
            sockets,
        })
    }
}

/// The processes that are not of the same program and cgroup as the first. Beyond what is looked at or kept, nothing is known.
fn others(
    views: &[(SocketView, Option<&Arc<Process>>)],
    first: Option<&Arc<Process>>,
    sockets: usize,
) -> Box<[Option<Arc<Process>>]> {
    let is_same = |a: Option<&Arc<Process>>, b: Option<&Arc<Process>>| match (a, b) {
        (Some(a), Some(b)) => {
            Arc::ptr_eq(a, b) || (&a.name, &a.executable, &a.cgroup) == (&b.name, &b.executable, &b.cgroup)
        }
        (a, b) => a.is_none() && b.is_none(),
    };
    let mut others: Vec<Option<Arc<Process>>> = Vec::new();
    let unseen = (sockets > views.len()).then_some(None);
    for process in views.iter().map(|(_, process)| *process).chain(unseen) {
        if is_same(process, first) || others.iter().any(|other| is_same(process, other.as_ref())) {
            continue;
        }
        let room = others.len() < MAX_OTHERS;
        others.push(process.filter(|_| room).cloned());
        if !room {
            break;
        }
    }
    others.into()
}
