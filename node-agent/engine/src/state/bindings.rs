//! What the sockets of one port show together: addresses, processes, and since when.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::BootTime;
use crate::model::listener::Exposure;
use crate::model::process::Process;
use crate::state::sockets::SocketView;

/// Maximum number of addresses kept per port.
const MAX_ADDRESSES: usize = 64;

/// Maximum number of additional processes kept per port.
const MAX_OTHER_PROCESSES: usize = 8;

/// What the sockets of one port show together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bindings {
    /// Local addresses, sorted. If some were cut, loopback addresses were cut first.
    pub addresses: Vec<IpAddr>,
    /// True if a socket is bound to another address than loopback, sampled or not.
    pub beyond_loopback: bool,
    /// True if the port has IPv6 sockets and all of them refuse IPv4.
    pub v6_only: bool,
    /// The first known process, to be shown. Decisions use [`Self::processes`].
    pub process: Option<Arc<Process>>,
    /// One process per other program or cgroup that serves the port; `None` for sockets of unknown processes.
    others: Box<[Option<Arc<Process>>]>,
    /// When the first socket opened; `None` if a socket's opening is not known.
    pub opened_at: Option<BootTime>,
    /// Since when the port is served, ignoring gaps up to the grace time.
    pub first_at: BootTime,
    /// Number of sockets.
    pub sockets: usize,
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

    /// Returns one process per program and cgroup that serves the port; `None` stands for unknown processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Option<&Process>> {
        std::iter::once(&self.process).chain(&self.others).map(Option::as_deref)
    }

    /// Returns a process that represents all of them as far as containers matter; `None` if they are in several
    /// cgroups, or one is not known.
    #[must_use]
    pub(crate) fn representative(&self) -> Option<&Process> {
        let first = self.process.as_deref()?;
        let with_first = |other: &Option<Arc<Process>>| {
            other.as_ref().is_some_and(|other| other.cgroup.is_some() && other.cgroup == first.cgroup)
        };
        self.others.iter().all(with_first).then_some(first)
    }

    /// Builds the bindings of sampled sockets; `None` if there are none. `sockets` is the number of all sockets.
    #[must_use]
    pub(crate) fn of(views: &[(SocketView, Option<&Arc<Process>>)], sockets: usize) -> Option<Self> {
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

/// Returns the processes whose program or cgroup differs from the first. Processes that were not sampled or do not
/// fit count as unknown.
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
        let room = others.len() < MAX_OTHER_PROCESSES;
        others.push(process.filter(|_| room).cloned());
        if !room {
            break;
        }
    }
    others.into()
}
