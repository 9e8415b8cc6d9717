//! What the sockets of one port show together: addresses, processes, and since when.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::BootTime;
use crate::model::listener::Exposure;
use crate::model::process::Process;
use crate::state::sockets::SocketView;

/// Addresses of one port that are kept.
const MAX_ADDRESSES: usize = 64;

/// Programs beside the first that are told apart among those that serve one port.
const MAX_OTHER_PROCESSES: usize = 8;

/// What the sockets of a port look like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings {
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

/// Every IPv6 socket refuses IPv4, and there is one.
fn is_v6_only<'a>(views: impl Iterator<Item = &'a SocketView>) -> bool {
    let mut refusing =
        views.filter(|view| view.address.is_ipv6()).map(|view| view.v6_only == Some(true)).peekable();
    refusing.peek().is_some() && refusing.all(|refuses| refuses)
}

impl Bindings {
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
    pub fn representative(&self) -> Option<&Process> {
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
        let room = others.len() < MAX_OTHER_PROCESSES;
        others.push(process.filter(|_| room).cloned());
        if !room {
            break;
        }
    }
    others.into()
}
