//! What the sockets of one port show together: addresses, processes, and since when.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::families::Families;
use crate::model::identity::BootTime;
use crate::model::listener::Exposure;
use crate::model::process::Process;
use crate::state::few::Few;
use crate::state::moment::Moment;
use crate::state::sockets::{HeldBy, SocketView};

/// Maximum number of addresses kept per port.
const MAX_ADDRESSES: usize = 64;

/// Maximum number of additional processes kept per port.
const MAX_OTHER_PROCESSES: usize = 8;

/// What the sockets of one port show together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bindings {
    /// Local addresses, sorted. If some were cut, loopback addresses were cut first.
    pub addresses: Few<IpAddr>,
    /// True if a socket is bound to another address than loopback, sampled or not.
    pub beyond_loopback: bool,
    /// Families in which a socket that is bound to all addresses accepts calls from outside the netns.
    wildcard: Families,
    /// True if the port has IPv6 sockets and all of them refuse IPv4.
    pub v6_only: bool,
    /// Who holds a socket that can be reached from the farthest, to be shown. Decisions use [`Self::reachable`].
    pub shown: HeldBy,
    /// One process per program and cgroup that serves the port, `None` for sockets whose process is not known. Those
    /// whose sockets can be reached from the farthest come first. Empty if there is only the one that is shown, as for
    /// most ports.
    holders: Box<[Option<Arc<Process>>]>,
    /// Number of holders whose sockets can be reached from the farthest.
    farthest: u8,
    /// When the first socket opened; `None` if a socket's opening is not known.
    pub opened_at: Moment,
    /// Since when the port is served, ignoring gaps up to the grace time.
    pub first_at: BootTime,
    /// Number of sockets.
    pub sockets: usize,
}

/// Returns the families in which sockets that are bound to all addresses accept calls from outside the netns. An IPv6 socket
/// that is not known to refuse IPv4 counts for both.
fn wildcard<'a>(views: impl Iterator<Item = &'a SocketView>) -> Families {
    let wide = views.filter(|view| !view.is_loopback() && view.address.is_unspecified());
    wide.fold(Families::default(), |all, view| {
        let accepts_v4 = view.address.is_ipv4() || view.v6_only != Some(true);
        all.or(Families { v4: accepts_v4, v6: view.address.is_ipv6() })
    })
}

/// Returns true if there are IPv6 sockets and all of them refuse IPv4.
fn is_v6_only<'a>(views: impl Iterator<Item = &'a SocketView>) -> bool {
    let mut refusing =
        views.filter(|view| view.address.is_ipv6()).map(|view| view.v6_only == Some(true)).peekable();
    refusing.peek().is_some() && refusing.all(|refuses| refuses)
}

impl Bindings {
    /// Returns from where the port can be reached.
    #[must_use]
    pub(crate) const fn exposure(&self, host: bool) -> Exposure {
        match (self.beyond_loopback, host) {
            (false, _) => Exposure::Loopback,
            (true, true) => Exposure::Host,
            (true, false) => Exposure::Pod,
        }
    }

    /// Returns true if a socket accepts calls to these addresses of the pod in one of these families. If no address of a
    /// family is known, any that a socket is bound to may be the pod's.
    #[must_use]
    pub(crate) fn accepts(&self, families: Families, own: &[IpAddr]) -> bool {
        let is_known = |address: &IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let mut bound = self.addresses.iter().filter(|address| {
            families.contains(address) && !address.is_loopback() && !address.is_unspecified()
        });
        self.beyond_loopback
            && (!self.wildcard.and(families).is_empty()
                || bound.any(|address| own.contains(address) || !is_known(address)))
    }

    /// Returns one process per program and cgroup that serves the port; `None` stands for unknown processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Option<&Process>> {
        let only = self.holders.is_empty().then(|| self.shown.process().map(Arc::as_ref));
        only.into_iter().chain(self.holders.iter().map(Option::as_deref))
    }

    /// Returns those of [`Self::processes`] whose sockets can be reached from the farthest. The verdict is about them.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = Option<&Process>> {
        self.processes().take(self.farthest.into())
    }

    /// Returns the known processes of other programs than the one that is shown.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Process> {
        let shown = self.shown.process();
        self.holders
            .iter()
            .flatten()
            .filter(move |other| !shown.is_some_and(|shown| is_same(shown, other)))
            .map(Arc::as_ref)
    }

    /// Returns a process that represents all that can be reached as far as containers matter; `None` if they are in
    /// several cgroups, or one is not known.
    #[must_use]
    pub(crate) fn representative(&self) -> Option<&Process> {
        let mut reachable = self.reachable();
        let first = reachable.next().flatten()?;
        let with_first = |other: Option<&Process>| {
            other.is_some_and(|other| other.cgroup.is_some() && other.cgroup == first.cgroup)
        };
        reachable.all(with_first).then_some(first)
    }

    /// Builds the bindings of sampled sockets; `None` if there are none. `sockets` is the number of all sockets, and
    /// `beyond_loopback` is true if one of all is bound to another address than loopback.
    #[must_use]
    pub(crate) fn of(views: &[(SocketView, HeldBy)], sockets: usize, beyond_loopback: bool) -> Option<Self> {
        let first_at = views.iter().map(|(view, _)| view.first_at).min()?;
        let mut addresses: Vec<IpAddr> = views.iter().map(|(view, _)| view.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let beyond_loopback = beyond_loopback || views.iter().any(|(view, _)| !view.is_loopback());
        if addresses.len() > MAX_ADDRESSES {
            addresses.sort_by_key(IpAddr::is_loopback);
            addresses.truncate(MAX_ADDRESSES);
            addresses.sort_unstable();
        }
        let opened: Option<Vec<BootTime>> = views.iter().map(|(view, _)| view.opened_at).collect();
        let is_farthest = |view: &SocketView| !beyond_loopback || !view.is_loopback();
        let far = || views.iter().filter(|(view, _)| is_farthest(view)).map(|(_, held)| held);
        let near = || views.iter().filter(|(view, _)| !is_farthest(view)).map(|(_, held)| held);
        // The first of several that are equally certain.
        let shown = far().rev().max_by_key(|held| held.certainty()).filter(|held| held.certainty() > 0);
        let shown = shown.cloned().unwrap_or_default();
        let mut holders = Holders::default();
        far().filter(|held| held.process().is_some()).for_each(|held| holders.add(held.process()));
        if far().any(|held| held.process().is_none()) || sockets > views.len() {
            holders.add(None);
        }
        let farthest = u8::try_from(holders.all.len()).unwrap_or(u8::MAX);
        near().for_each(|held| holders.add(held.process()));
        Some(Self {
            holders: holders.beside(&shown),
            shown,
            farthest,
            addresses: addresses.into(),
            beyond_loopback,
            wildcard: if sockets > views.len() && beyond_loopback {
                // Those that were not sampled may be bound to anything.
                Families::BOTH
            } else {
                wildcard(views.iter().map(|(view, _)| view))
            },
            v6_only: is_v6_only(views.iter().map(|(view, _)| view)),
            opened_at: opened.and_then(|times| times.into_iter().min()).into(),
            first_at,
            sockets,
        })
    }

    /// True for the bindings that [`Self::forwarded`] makes.
    #[must_use]
    pub(crate) fn is_forwarded(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The bindings of a port that no socket of the netns serves: its rules forward it.
    #[must_use]
    pub(crate) fn forwarded(first_at: BootTime) -> Self {
        Self {
            addresses: Few::default(),
            beyond_loopback: true,
            wildcard: Families::BOTH,
            v6_only: false,
            shown: HeldBy::Unknown,
            holders: Box::default(),
            farthest: 1,
            opened_at: Moment::NONE,
            first_at,
            sockets: 0,
        }
    }
}

/// The holders of a port's sockets, one per program and cgroup.
#[derive(Default)]
struct Holders {
    all: Vec<Option<Arc<Process>>>,
}

impl Holders {
    /// Returns the holders, or none if there is only the one that is shown.
    fn beside(self, shown: &HeldBy) -> Box<[Option<Arc<Process>>]> {
        match self.all.as_slice() {
            [only] if only.as_ref() == shown.process() => Box::default(),
            _ => self.all.into(),
        }
    }

    /// Adds a holder that differs from the others. A process that does not fit counts as unknown.
    fn add(&mut self, process: Option<&Arc<Process>>) {
        let is_known = |known: &Option<Arc<Process>>| match (known, process) {
            (Some(known), Some(process)) => is_same(known, process),
            (known, process) => known.is_none() && process.is_none(),
        };
        if self.all.iter().any(is_known) {
            return;
        }
        if self.all.len() < 1 + MAX_OTHER_PROCESSES {
            self.all.push(process.cloned());
        } else if !self.all.contains(&None) {
            self.all.push(None);
        }
    }
}

/// Returns true if both run the same program in the same cgroup.
fn is_same(a: &Arc<Process>, b: &Arc<Process>) -> bool {
    Arc::ptr_eq(a, b) || (&a.name, &a.executable, &a.cgroup) == (&b.name, &b.executable, &b.cgroup)
}
