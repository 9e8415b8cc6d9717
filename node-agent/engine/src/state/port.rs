//! One port of one netns: its sockets, its bindings and its reported state.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::model::fingerprint::Fnv;
use crate::model::identity::{BootTime, PodKey, Protocol, SocketCookie};
use crate::model::listener::DeclarationStatus;
use crate::model::process::Process;
use crate::model::reach::Reach;
use crate::model::traffic::Traffic;
use crate::state::bindings::Bindings;
use crate::state::nat_paths::NatPaths;
use crate::state::port_age::PortAge;
use crate::state::port_traffic::PortTraffic;
use crate::state::sockets::{SocketTable, SocketView};

/// Sockets of one port that are looked at; a group may have thousands, all alike.
const MAX_SAMPLED_SOCKETS: usize = 256;

/// The sockets of one port, sorted. Most ports have one, for which a tree would take a hundred bytes.
#[derive(Debug, Default)]
pub struct SocketSet(Vec<SocketCookie>);

impl SocketSet {
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
    pub sockets: SocketSet,
    /// How many of them are bound to something else than loopback.
    pub beyond_loopback: usize,
    /// `None` while only traffic is known of it.
    pub bindings: Option<Bindings>,
    /// Latest scan that listed a socket of it. Apart from the face: by itself it makes nothing to tell.
    pub scanned_at: Option<BootTime>,
    pub pod: Option<PodKey>,
    pub id: u64,
    pub status: DeclarationStatus,
    /// Mark of what was last printed; `None` if nothing was.
    pub reported: Option<u64>,
    pub age: PortAge,
    /// When the last socket ended.
    pub closed_at: Option<BootTime>,
    /// When the engine first heard of it.
    pub first_heard_at: BootTime,
    pub watched: bool,
    /// Its counting was ended, and nothing happened since that made the kernel begin it anew.
    pub dismissed: bool,
    pub recording: bool,
    /// An ephemeral UDP port that proved to be a server.
    pub serves: bool,
    pub traffic: PortTraffic,
    /// Boxed: most ports have none.
    pub nat_paths: Option<Box<NatPaths>>,
}

impl Port {
    #[must_use]
    pub fn new(now: BootTime) -> Self {
        Self {
            sockets: SocketSet::default(),
            beyond_loopback: 0,
            bindings: None,
            scanned_at: None,
            pod: None,
            id: 0,
            status: DeclarationStatus::Unknown,
            reported: None,
            age: PortAge::default(),
            closed_at: None,
            first_heard_at: now,
            watched: false,
            dismissed: false,
            recording: false,
            serves: false,
            traffic: PortTraffic::default(),
            nat_paths: None,
        }
    }

    /// Its traffic as reports show it.
    #[must_use]
    pub fn report(&self, protocol: Protocol) -> Traffic {
        let mut traffic = self.traffic.report(protocol);
        if let Some(nat_paths) = &self.nat_paths {
            nat_paths.annotate(&mut traffic);
        }
        traffic
    }

    /// From how far those came whom it served.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let nat_paths = self.nat_paths.as_deref().map(NatPaths::reach).unwrap_or_default();
        self.traffic.reach().max(nat_paths)
    }

    /// When the origin of a caller will be certain.
    #[must_use]
    pub fn settle_at(&self) -> Option<BootTime> {
        let nat_paths = self.nat_paths.as_deref().and_then(NatPaths::settle_at);
        self.traffic.settle_at().into_iter().chain(nat_paths).min()
    }

    /// The process that stands for all of its sockets as far as containers go.
    #[must_use]
    pub fn representative(&self) -> Option<&Process> {
        self.bindings.as_ref().and_then(Bindings::representative)
    }

    /// No container is known to declare it.
    #[must_use]
    pub fn is_undeclared(&self) -> bool {
        self.status != DeclarationStatus::Declared
    }

    /// Looks at the sockets again; keeps the last face when none is left. Breaks no longer than `patience` are none.
    pub fn refresh(&mut self, floor: BootTime, table: &SocketTable, max_gap: Duration) {
        let sampled = self.sockets.iter().take(MAX_SAMPLED_SOCKETS).filter_map(|cookie| {
            let socket = table.get(cookie)?;
            Some((socket.view(floor)?, socket.process()))
        });
        let views: Vec<(SocketView, Option<&Arc<Process>>)> = sampled.collect();
        if let Some(mut bindings) = Bindings::of(&views, self.sockets.len()) {
            bindings.beyond_loopback |= self.beyond_loopback > 0;
            bindings.first_at = self.age.continue_from(bindings.first_at, max_gap);
            self.scanned_at = views.iter().filter_map(|(view, _)| view.scanned_at).max();
            self.bindings = Some(bindings);
            self.closed_at = None;
        }
    }

    /// A mark of all that makes a listener worth printing again; `said` is one of its container and its declaration.
    #[must_use]
    pub fn change_mark(&self, said: u64) -> u64 {
        let mut fnv = Fnv::default();
        if let Some(bindings) = &self.bindings {
            bindings.addresses.hash(&mut fnv);
            bindings.v6_only.hash(&mut fnv);
            let process = bindings.process.as_ref().map(|p| (p.pid, &p.name, &p.executable));
            process.hash(&mut fnv);
        }
        self.pod.hash(&mut fnv);
        self.status.hash(&mut fnv);
        said.hash(&mut fnv);
        fnv.finish()
    }
}
