//! One port of one netns: its sockets, its bindings and its reported state.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::Fnv;
use crate::model::identity::{BootTime, PodKey, Protocol, SocketCookie};
use crate::model::listener::{DeclarationStatus, ServedBy};
use crate::model::process::Process;
use crate::model::reach::Reach;
use crate::model::traffic::Traffic;
use crate::state::bindings::Bindings;
use crate::state::direction::Role;
use crate::state::few::Few;
use crate::state::forward::{Forward, Redirect};
use crate::state::moment::Moment;
use crate::state::nat_paths::NatPaths;
use crate::state::port_age::PortAge;
use crate::state::port_traffic::PortTraffic;
use crate::state::sockets::{HeldBy, SocketTable, SocketView};
use crate::state::way_in::WayIn;

/// Maximum number of sockets of one port that are inspected. A group may have thousands, all alike.
const MAX_SAMPLED_SOCKETS: usize = 256;

/// The sockets of one port, sorted. A list, because most ports have one socket and a tree would take a hundred bytes.
#[derive(Debug, Default)]
pub(crate) struct SocketSet(Few<SocketCookie>);

impl SocketSet {
    pub(crate) fn insert(&mut self, cookie: SocketCookie) {
        if let Err(slot) = self.0.binary_search(&cookie) {
            self.0.edit(|cookies| cookies.insert(slot, cookie));
        }
    }

    pub(crate) fn remove(&mut self, cookie: SocketCookie) {
        if let Ok(slot) = self.0.binary_search(&cookie) {
            self.0.edit(|cookies| {
                cookies.remove(slot);
                if cookies.capacity() > 4 * cookies.len() + 4 {
                    cookies.shrink_to(2 * cookies.len());
                }
            });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketCookie> {
        self.0.iter().copied()
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether single connections of a port are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Not decided yet: the pod of the port may not be known. The kernel records by default.
    Undecided,
    /// The kernel side was asked to record.
    On,
    /// The kernel side was asked not to record.
    Off,
}

/// One port.
#[derive(Debug)]
pub(crate) struct Port {
    /// Its open sockets.
    pub sockets: SocketSet,
    /// Number of sockets that are bound to another address than loopback.
    pub beyond_loopback: u32,
    /// What its sockets show together, kept after the last one closed; `None` while only traffic is known.
    pub bindings: Option<Bindings>,
    /// Latest scan that listed a socket of the port. Apart from the bindings, because it makes no report by itself.
    pub scanned_at: Moment,
    /// The pod that the port is attributed to.
    pub pod: Option<PodKey>,
    /// Id of its listener and finding; 0 until the port is judged.
    pub id: u64,
    /// Declaration status.
    pub status: DeclarationStatus,
    /// Change mark of the last report; `None` if the port is not reported.
    pub reported: Option<u64>,
    /// The code of its latest finding, also after that was resolved.
    pub found: Option<FindingCode>,
    /// Since when the port is served.
    pub age: PortAge,
    /// When the last socket closed.
    pub closed_at: Moment,
    /// When the engine first heard of the port.
    pub first_heard_at: BootTime,
    /// True if the kernel side was asked to count the port.
    pub watched: bool,
    /// True if the kernel side was asked to stop counting. Cleared by a new socket or by traffic, which show that the
    /// kernel side counts the port again.
    pub dismissed: bool,
    /// Whether single connections are recorded.
    pub recording: Recording,
    /// True for a UDP port that may be a client's: see [`Listener::unproven`](crate::model::listener::Listener::unproven).
    pub unproven: bool,
    /// True if a scan of the netns was asked for, to learn who holds the port.
    pub scan_requested: bool,
    /// The pod of the process that serves the port, if that is not the pod that the port belongs to.
    pub served_from: Option<PodKey>,
    /// Where the rules of the netns lead the port, if its connections show that.
    pub forward: Option<Box<Forward>>,
    /// The port to which a rule of the netns redirects this one, if its connections show that.
    pub redirect: Option<Redirect>,
    /// How far the callers of an earlier run of the agent were away; `None` if nothing is remembered of the port.
    pub earlier: Option<Reach>,
    /// Since when the kernel side counts the port without a gap; `None` if nothing is counted.
    pub counted_since: Moment,
    /// Traffic and peers. Boxed, because many ports are never called; read it with [`Self::traffic`].
    pub traffic: Option<Box<PortTraffic>>,
    /// Of an explained port: how far the served callers are away that no explanation explains.
    pub beyond: Reach,
    /// NAT paths. Boxed, because most ports have none.
    pub nat_paths: Option<Box<NatPaths>>,
}

impl Port {
    /// A port without sockets or traffic.
    #[must_use]
    pub(crate) fn new(now: BootTime) -> Self {
        Self {
            sockets: SocketSet::default(),
            beyond_loopback: 0,
            bindings: None,
            scanned_at: Moment::NONE,
            pod: None,
            id: 0,
            status: DeclarationStatus::Unknown,
            reported: None,
            found: None,
            age: PortAge::default(),
            closed_at: Moment::NONE,
            first_heard_at: now,
            watched: false,
            dismissed: false,
            recording: Recording::Undecided,
            unproven: false,
            scan_requested: false,
            served_from: None,
            forward: None,
            redirect: None,
            earlier: None,
            counted_since: Moment::NONE,
            traffic: None,
            beyond: Reach::Nothing,
            nat_paths: None,
        }
    }

    /// Returns the traffic.
    #[must_use]
    pub(crate) fn traffic(&self) -> &PortTraffic {
        static NONE: LazyLock<PortTraffic> = LazyLock::new(PortTraffic::default);
        self.traffic.as_deref().unwrap_or_else(|| &NONE)
    }

    /// Returns true if a socket serves the port, or a rule forwards it.
    #[must_use]
    pub(crate) fn is_served(&self) -> bool {
        !self.sockets.is_empty() || self.forward.is_some()
    }

    /// Returns true if a rule forwards the port and no socket serves it.
    #[must_use]
    pub(crate) fn is_forwarded(&self) -> bool {
        self.sockets.is_empty() && self.forward.is_some()
    }

    /// Returns who serves the port.
    #[must_use]
    pub(crate) fn served_by(&self) -> ServedBy {
        let is_kernel = |bindings: &Bindings| bindings.shown == HeldBy::Kernel;
        // Also after the forwarding ended.
        if self.bindings.as_ref().is_some_and(Bindings::is_forwarded) {
            ServedBy::Forwarded
        } else if self.bindings.as_ref().is_some_and(is_kernel) {
            ServedBy::Kernel
        } else {
            ServedBy::Process
        }
    }

    /// Returns what the UDP port is used for; see [`PortTraffic::role`].
    #[must_use]
    pub(crate) fn role(&self, bindings: &Bindings, soon: Duration) -> Role {
        if self.is_forwarded() {
            return Role::Server;
        }
        self.traffic().role(bindings.first_at, !bindings.beyond_loopback, soon)
    }

    /// Returns the traffic as reports show it. `own`: the pod's own IPv4 and IPv6 address.
    #[must_use]
    pub(crate) fn report(&self, protocol: Protocol, own: (Option<IpAddr>, Option<IpAddr>)) -> Traffic {
        let forwarded_to = self.forward.as_ref().map(|forward| forward.to);
        let mut traffic = self.traffic().report(protocol, WayIn { own, forwarded_to });
        if let Some(nat_paths) = &self.nat_paths {
            nat_paths.annotate(&mut traffic);
        }
        traffic.since = self.counted_since();
        traffic.earlier = self.earlier.unwrap_or_default();
        if self.status != DeclarationStatus::Explained {
            traffic.peers.iter_mut().for_each(|peer| peer.is_beyond_audience = false);
        }
        traffic
    }

    /// Returns since when the counts are complete: since the port opened if the agent saw that.
    pub(crate) fn counted_since(&self) -> Option<BootTime> {
        let opened_at = self.bindings.as_ref().and_then(|bindings| bindings.opened_at.get());
        self.counted_since.get().map(|since| opened_at.map_or(since, |opened| opened.min(since)))
    }

    /// Returns how far the served callers are away, those of an earlier run of the agent among them.
    #[must_use]
    pub(crate) fn reach(&self) -> Reach {
        let nat_paths = self.nat_paths.as_deref().map(NatPaths::reach).unwrap_or_default();
        self.traffic().reach().max(nat_paths).max(self.earlier.unwrap_or_default())
    }

    /// Returns how far the callers are away that the verdict counts: of an explained port, those beyond its audience.
    #[must_use]
    pub(crate) fn judged_reach(&self) -> Reach {
        if self.status == DeclarationStatus::Explained { self.beyond } else { self.reach() }
    }

    /// Returns true if a known caller is the pod of this name.
    #[must_use]
    pub(crate) fn is_called_by(&self, reference: &str) -> bool {
        self.traffic().is_called_by(reference)
            || self.nat_paths.as_deref().is_some_and(|paths| paths.has_client(reference))
    }

    /// Returns true if somebody called the port who is not expected to: anybody beyond the audience of an explained port.
    #[must_use]
    pub(crate) fn is_called_unexpectedly(&self) -> bool {
        self.status == DeclarationStatus::Explained && self.beyond > Reach::Node
    }

    /// Returns when the origin of a caller will be certain.
    #[must_use]
    pub(crate) fn settle_at(&self) -> Option<BootTime> {
        let nat_paths = self.nat_paths.as_deref().and_then(NatPaths::settle_at);
        self.traffic().settle_at().into_iter().chain(nat_paths).min()
    }

    /// Returns a process that represents all sockets as far as containers matter.
    #[must_use]
    pub(crate) fn representative(&self) -> Option<&Process> {
        self.bindings.as_ref().and_then(Bindings::representative)
    }

    /// Returns true if no container is known to declare the port.
    #[must_use]
    pub(crate) fn is_undeclared(&self) -> bool {
        self.status != DeclarationStatus::Declared
    }

    /// Brings the bindings in line with whether the port is only forwarded.
    pub(crate) fn settle_forward(&mut self) {
        if let Some(forward) = self.forward.as_deref().filter(|_| self.sockets.is_empty()) {
            self.bindings = Some(Bindings::forwarded(forward.first_at));
            self.closed_at = Moment::NONE;
        }
    }

    /// Rebuilds the bindings from the sockets; keeps the last bindings if none is left. Gaps up to `max_gap` do not
    /// reset the age.
    pub(crate) fn refresh(&mut self, floor: BootTime, table: &SocketTable, max_gap: Duration) {
        let sampled = self.sockets.iter().take(MAX_SAMPLED_SOCKETS).filter_map(|cookie| {
            let socket = table.get(cookie)?;
            Some((socket.view(floor)?, socket.held_by().clone()))
        });
        let views: Vec<(SocketView, HeldBy)> = sampled.collect();
        let beyond_loopback = self.beyond_loopback > 0;
        if let Some(mut bindings) = Bindings::of(&views, self.sockets.len(), beyond_loopback) {
            bindings.first_at = self.age.continue_from(bindings.first_at, max_gap);
            self.scanned_at = views.iter().filter_map(|(view, _)| view.scanned_at).max().into();
            self.bindings = Some(bindings);
            self.closed_at = Moment::NONE;
        }
    }

    /// Hashes everything that makes a listener worth another report. `declaration` is the hash of its container and
    /// declaration.
    #[must_use]
    pub(crate) fn change_mark(&self, declaration: u64) -> u64 {
        let mut fnv = Fnv::default();
        if let Some(bindings) = &self.bindings {
            bindings.addresses.hash(&mut fnv);
            bindings.v6_only.hash(&mut fnv);
            let shown = bindings.shown.process();
            shown.map(|process| (process.pid, &process.name, &process.executable)).hash(&mut fnv);
            bindings.others().for_each(|process| (&process.name, &process.executable).hash(&mut fnv));
        }
        self.served_by().hash(&mut fnv);
        self.forward.as_ref().filter(|_| self.is_forwarded()).map(|forward| forward.to).hash(&mut fnv);
        (self.unproven, self.served_from).hash(&mut fnv);
        self.pod.hash(&mut fnv);
        self.status.hash(&mut fnv);
        declaration.hash(&mut fnv);
        fnv.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::findings::FindingRecord;
    use crate::state::sockets::Socket;

    /// A node may have ten thousand of each.
    #[test]
    fn a_port_and_what_belongs_to_it_take_little_memory() {
        assert!(size_of::<Port>() <= 248, "{}", size_of::<Port>());
        assert!(size_of::<Socket>() <= 168, "{}", size_of::<Socket>());
        assert!(size_of::<FindingRecord>() <= 80, "{}", size_of::<FindingRecord>());
    }

    #[test]
    fn a_set_of_sockets_is_sorted_whatever_the_order_and_has_each_once() {
        let mut set = SocketSet::default();
        for cookie in [3, 1, 2, 1] {
            set.insert(SocketCookie(cookie));
        }
        assert_eq!(set.iter().map(|cookie| cookie.0).collect::<Vec<_>>(), [1, 2, 3]);
        for cookie in [2, 3, 3] {
            set.remove(SocketCookie(cookie));
        }
        assert_eq!((set.len(), set.iter().next()), (1, Some(SocketCookie(1))));
        set.remove(SocketCookie(1));
        assert!(set.is_empty());
    }
}
