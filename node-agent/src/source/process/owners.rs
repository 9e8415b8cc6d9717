//! Which process holds each socket. Remembers holders by socket inode and cookie, and checks at each scan that they still
//! hold the socket, so that only new sockets, and sockets that changed hands, cause a search.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, SocketCookie};
use portolan_engine::model::process::Holder;

use super::descriptors::Descriptors;
use super::holder_search::{Held, HolderSearch, Owner, Wanted, read_owner};
use super::{pids, start_time};
use crate::source::clock;
use crate::source::scan::ListedSocket;

/// Number of walks over all processes without a holder after which a socket counts as held by nobody, if each of them
/// missed a process that ended meanwhile. Otherwise one walk is enough.
const INCONCLUSIVE_WALKS: u8 = 3;
/// Pause after the first walk that did not find a holder. Each further walk doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two walks for a socket without a holder.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Time without a holder after which a socket is the kernel's: no socket is in flight between two processes for so long.
const KERNEL_AFTER: Duration = Duration::from_secs(60);
/// The kernel thread from which all others descend; visible only where all processes of the node are.
const KTHREADD: u32 = 2;

/// Inode and cookie of a socket; the cookie guards against reused inode numbers.
type SocketKey = (u32, SocketCookie);

/// The walks over all processes that did not find a holder of a socket, or only a service manager.
#[derive(Debug, Default)]
struct Misses {
    walks: u8,
    /// Earliest time of the next walk.
    next: BootTime,
    /// When a walk first proved that no process holds the socket.
    absent_since: Option<BootTime>,
    /// True if that has been so for [`KERNEL_AFTER`].
    is_lasting: bool,
}

/// Where and when to search for holders.
#[derive(Clone, Copy, Debug)]
pub struct SearchScope<'a> {
    /// Some of the processes in the sockets' netns, which are searched first.
    pub near: &'a [u32],
    /// Inode of the sockets' netns; `None` where they are of several.
    pub netns: Option<u64>,
    /// True if the sockets may be of the host's netns, so that process 1 may hold them.
    pub is_host: bool,
    pub now: BootTime,
    /// True if a walk over all processes may be made now.
    pub may_walk: bool,
}

/// Result of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchOutcome {
    /// CPU time of the walk over all processes.
    pub walk_cost: Duration,
    /// True if sockets wait for a walk.
    pub is_put_off: bool,
}

/// The known holders of sockets.
#[derive(Debug)]
pub struct SocketOwners {
    proc_root: PathBuf,
    /// Sockets of one process share one owner.
    known: BTreeMap<SocketKey, Held>,
    misses: BTreeMap<SocketKey, Misses>,
    /// Sockets of all netns that wait for the next walk over all processes, by inode.
    pending: BTreeMap<u32, Wanted>,
}

impl SocketOwners {
    /// Creates an empty set that reads under `proc_root` (`/proc`).
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        let (known, misses, pending) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { proc_root: proc_root.to_owned(), known, misses, pending }
    }

    /// Returns who holds `socket`, as far as earlier searches found out. A socket that no process holds is the kernel's if
    /// the kernel says so (no inode), if it carries a tunnel, or if it stays without a holder.
    #[must_use]
    pub fn holder(&self, socket: &ListedSocket) -> Holder {
        let key = (socket.inode, socket.cookie);
        if let Some(held) = self.known.get(&key) {
            return Holder::Process(held.owner.process.clone());
        }
        match self.misses.get(&key) {
            _ if socket.inode == 0 => Holder::Kernel,
            Some(misses) if misses.absent_since.is_some() => {
                if socket.is_tunnel || misses.is_lasting {
                    Holder::Kernel
                } else {
                    Holder::Nobody
                }
            }
            _ => Holder::Unknown,
        }
    }

    /// Returns the known holders of the sockets with these cookies.
    #[must_use]
    pub fn pids(&self, cookies: &[SocketCookie]) -> BTreeSet<u32> {
        let cookies: BTreeSet<&SocketCookie> = cookies.iter().collect();
        let held = self.known.iter().filter(|((_, cookie), _)| cookies.contains(cookie));
        held.map(|(_, held)| held.owner.process.pid).collect()
    }

    /// Returns the number of remembered sockets; a socket may count several times.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len() + self.misses.len() + self.pending.len()
    }

    /// Checks the known holders of these sockets and finds the others. Searches the processes of `scope.near` first, and
    /// walks over all processes only for sockets that those do not hold. One walk serves the pending sockets of all
    /// netns.
    pub fn find(&mut self, sockets: &[ListedSocket], scope: SearchScope<'_>) -> SearchOutcome {
        let suspects = self.verify(sockets);
        self.search(sockets, suspects, scope)
    }

    /// Finds the holders that are not known, without a check of those that are: for a scan that runs once.
    pub fn find_new<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a ListedSocket>,
        scope: SearchScope<'_>,
    ) -> SearchOutcome {
        self.search(sockets, BTreeSet::new(), scope)
    }

    /// Adds the holders that `others` found.
    pub fn merge(&mut self, others: Self) {
        self.known.extend(others.known);
    }

    /// Forgets all sockets but these.
    pub fn retain(&mut self, alive: &BTreeSet<SocketCookie>) {
        self.known.retain(|(_, cookie), _| alive.contains(cookie));
        self.misses.retain(|(_, cookie), _| alive.contains(cookie));
        self.pending.retain(|_, wanted| alive.contains(&wanted.cookie));
    }

    /// Checks that the known holders still hold these sockets, and reads their names again: exec replaces the program and
    /// keeps pid and start time. Forgets the others; returns their pids, under which the socket may have another
    /// descriptor now.
    fn verify(&mut self, sockets: &[ListedSocket]) -> BTreeSet<u32> {
        let mut processes: BTreeMap<u32, Option<(Arc<Owner>, Descriptors)>> = BTreeMap::new();
        let mut suspects = BTreeSet::new();
        for socket in sockets {
            let key = (socket.inode, socket.cookie);
            let Some(held) = self.known.get_mut(&key) else { continue };
            let pid = held.owner.process.pid;
            let process = processes.entry(pid).or_insert_with(|| reread(&self.proc_root, &held.owner));
            match process {
                Some((owner, fds))
                    if owner.started == held.owner.started && fds.holds(held.descriptor, socket.inode) =>
                {
                    if !Arc::ptr_eq(owner, &held.owner) {
                        *held = held.with_owner(Arc::clone(owner));
                    }
                }
                _ => {
                    suspects.insert(pid);
                    self.known.remove(&key);
                    self.misses.remove(&key);
                }
            }
        }
        suspects
    }

    fn search<'a>(
        &mut self,
        sockets: impl IntoIterator<Item = &'a ListedSocket>,
        suspects: BTreeSet<u32>,
        scope: SearchScope<'_>,
    ) -> SearchOutcome {
        let wanted = self.wanted(sockets, scope);
        let mut search = HolderSearch::new(&self.proc_root, &wanted);
        search.walk(suspects.into_iter().chain(scope.near.iter().copied()));
        let mut best = search.into_best();
        let mut is_put_off = false;
        for (inode, wanted) in wanted {
            let held = best.remove(&inode);
            if held.as_ref().is_none_or(Held::is_provisional) {
                self.pending.insert(inode, wanted);
                is_put_off = true;
            }
            if let Some(held) = held {
                self.known.insert((inode, wanted.cookie), held);
            }
        }
        if !scope.may_walk || self.pending.is_empty() {
            return SearchOutcome { walk_cost: Duration::ZERO, is_put_off };
        }
        let before = clock::thread_cpu();
        self.walk_all(scope.now);
        SearchOutcome { walk_cost: clock::thread_cpu().saturating_sub(before), is_put_off: false }
    }

    /// Returns the sockets to search: those without a holder, and those that only a service manager holds, unless the
    /// pause after the last walk in vain is not over.
    fn wanted<'a>(
        &self,
        sockets: impl IntoIterator<Item = &'a ListedSocket>,
        scope: SearchScope<'_>,
    ) -> BTreeMap<u32, Wanted> {
        let is_wanted = |socket: &&ListedSocket| {
            let key = (socket.inode, socket.cookie);
            let misses = self.misses.get(&key);
            let is_the_kernels = socket.is_tunnel && misses.is_some_and(|it| it.absent_since.is_some());
            socket.inode != 0
                && !is_the_kernels
                && self.known.get(&key).is_none_or(Held::is_provisional)
                && misses.is_none_or(|misses| misses.next <= scope.now)
        };
        let wanted = |socket: &ListedSocket| {
            (
                socket.inode,
                Wanted { cookie: socket.cookie, netns: scope.netns, may_be_of_first: scope.is_host },
            )
        };
        sockets.into_iter().filter(is_wanted).map(wanted).collect()
    }

    /// Searches all processes for the pending sockets of all netns.
    fn walk_all(&mut self, now: BootTime) {
        let pending = std::mem::take(&mut self.pending);
        let mut search = HolderSearch::new(&self.proc_root, &pending);
        let mut is_listed = true;
        // The second list has the children that took over from a parent which ended during the first walk.
        for _ in 0..2 {
            match pids(&self.proc_root) {
                Ok(pids) => search.walk(pids),
                Err(_) => is_listed = false,
            }
        }
        let is_complete = is_listed && search.forbidden == 0 && sees_the_node(&self.proc_root);
        let (is_conclusive, is_first_forbidden) = (search.vanished == 0, search.is_first_forbidden);
        let mut best = search.into_best();
        for (inode, wanted) in pending {
            let key = (inode, wanted.cookie);
            let held = best.remove(&inode);
            let is_final = held.as_ref().is_some_and(|held| !held.is_provisional());
            let is_held = held.is_some();
            match held {
                Some(held) => _ = self.known.insert(key, held),
                None => _ = self.known.remove(&key),
            }
            if is_final {
                self.misses.remove(&key);
                continue;
            }
            let misses = self.misses.entry(key).or_default();
            misses.walks = misses.walks.saturating_add(1);
            let sees_all = is_complete && !(is_first_forbidden && wanted.may_be_of_first);
            let is_absent = !is_held && sees_all && (is_conclusive || misses.walks >= INCONCLUSIVE_WALKS);
            misses.absent_since = is_absent.then(|| misses.absent_since.unwrap_or(now));
            misses.is_lasting = misses.absent_since.is_some_and(|since| now.since(since) >= KERNEL_AFTER);
            let doublings = u32::from(misses.walks.min(16)) - 1;
            misses.next = now.after(FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE));
        }
    }
}

/// Reads the process of a known owner again. Returns `owner` itself if nothing changed; `None` if the process is gone.
fn reread(proc_root: &Path, owner: &Arc<Owner>) -> Option<(Arc<Owner>, Descriptors)> {
    let pid = owner.process.pid;
    let descriptors = Descriptors::of_process(proc_root, pid).ok()?;
    let now = read_owner(proc_root, pid)?;
    let owner = if *now == **owner { Arc::clone(owner) } else { now };
    Some((owner, descriptors))
}

/// True if all processes of the node are visible. Otherwise a socket may have a holder that no walk can find.
fn sees_the_node(proc_root: &Path) -> bool {
    let program = std::fs::read_link(proc_root.join(format!("{KTHREADD}/exe")));
    // Only a kernel thread has no program.
    start_time(proc_root, KTHREADD).is_some()
        && program.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsFd, AsRawFd};
    use std::process::{Child, Command};

    use super::*;
    use crate::source::scan::listed_sockets;

    const NOW: BootTime = BootTime(1_000);

    fn scope(near: &[u32], may_walk: bool) -> SearchScope<'_> {
        SearchScope { near, netns: None, is_host: false, now: NOW, may_walk }
    }

    fn listed(listener: &TcpListener) -> ListedSocket {
        let port = listener.local_addr().expect("address").port();
        let listed = listed_sockets().expect("sock_diag");
        listed.sockets.into_iter().find(|socket| socket.port.get() == port).expect("listed")
    }

    fn own_listener() -> (TcpListener, ListedSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let socket = listed(&listener);
        (listener, socket)
    }

    fn pid_of(holder: &Holder) -> Option<u32> {
        holder.process().map(|process| process.pid)
    }

    /// A child that inherits the listener and sleeps.
    struct Heir(Child);

    impl Heir {
        fn of(listener: &TcpListener) -> Self {
            rustix::io::fcntl_setfd(listener.as_fd(), rustix::io::FdFlags::empty()).expect("fcntl");
            let child = Command::new("sleep").arg("600").spawn().expect("sleep");
            rustix::io::fcntl_setfd(listener.as_fd(), rustix::io::FdFlags::CLOEXEC).expect("fcntl");
            Self(child)
        }
    }

    impl Drop for Heir {
        fn drop(&mut self) {
            let _dead = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    #[test]
    fn the_holder_of_an_own_socket_is_this_process() {
        let (_listener, socket) = own_listener();
        let own = std::process::id();
        let mut owners = SocketOwners::new(Path::new("/proc"));
        let outcome = owners.find(std::slice::from_ref(&socket), scope(&[], false));
        assert!(outcome.is_put_off, "no walk was allowed");
        assert_eq!(owners.holder(&socket), Holder::Unknown);
        let outcome = owners.find(std::slice::from_ref(&socket), scope(&[], true));
        assert!(!outcome.is_put_off && outcome.walk_cost > Duration::ZERO);
        let holder = owners.holder(&socket);
        assert_eq!(pid_of(&holder), Some(own));
        let executable = holder.process().and_then(|process| process.executable.clone());
        assert_eq!(executable, std::env::current_exe().ok().map(|path| path.display().to_string()));
        let mut near = SocketOwners::new(Path::new("/proc"));
        assert_eq!(near.find(std::slice::from_ref(&socket), scope(&[own], false)), SearchOutcome::default());
        assert_eq!(near.holder(&socket), holder);
        owners.retain(&BTreeSet::new());
        assert_eq!((owners.holder(&socket), owners.remembered()), (Holder::Unknown, 0));
    }

    #[test]
    fn one_walk_serves_all_sockets_that_wait() {
        let ((_a, first), (_b, second)) = (own_listener(), own_listener());
        let mut owners = SocketOwners::new(Path::new("/proc"));
        owners.find(std::slice::from_ref(&first), scope(&[], false));
        owners.find(std::slice::from_ref(&second), scope(&[], true));
        let own = Some(std::process::id());
        assert_eq!([pid_of(&owners.holder(&first)), pid_of(&owners.holder(&second))], [own, own]);
    }

    #[test]
    fn a_descriptor_that_moved_and_a_holder_that_closed_are_noticed() {
        let (listener, socket) = own_listener();
        let heir = Heir::of(&listener);
        let (own, other) = (std::process::id(), heir.0.id());
        let sockets = [socket];
        let mut owners = SocketOwners::new(Path::new("/proc"));
        owners.find(&sockets, scope(&[other, own], false));
        assert_eq!(pid_of(&owners.holder(&sockets[0])), Some(own), "it started before its child");
        let moved = listener.as_fd().try_clone_to_owned().expect("dup");
        assert_ne!(moved.as_raw_fd(), listener.as_raw_fd());
        drop(listener);
        owners.find(&sockets, scope(&[], false));
        assert_eq!(pid_of(&owners.holder(&sockets[0])), Some(own), "under another descriptor");
        drop(moved);
        owners.find(&sockets, scope(&[], true));
        let holder = owners.holder(&sockets[0]);
        assert_eq!(holder.process().map(|it| (it.pid, it.name.as_str())), Some((other, "sleep")));
        let gone = heir.0.id();
        drop(heir);
        owners.find(&sockets, scope(&[gone], true));
        assert_eq!(owners.holder(&sockets[0]).process(), None, "nobody holds it");
    }

    #[test]
    fn a_walk_in_vain_is_repeated_with_growing_pauses() {
        let (listener, socket) = own_listener();
        drop(listener);
        let mut owners = SocketOwners::new(Path::new("/proc"));
        let mut now = NOW;
        let mut walks = Vec::new();
        while walks.len() < 4 {
            let scope = SearchScope { near: &[], netns: None, is_host: false, now, may_walk: true };
            if owners.find(std::slice::from_ref(&socket), scope).walk_cost > Duration::ZERO {
                walks.push(now.since(NOW).as_secs());
            }
            now = now.after(FIRST_PAUSE);
        }
        assert_eq!(walks, [0, 1, 3, 7]);
    }

    #[test]
    fn without_an_inode_it_is_the_kernels() {
        let (_listener, socket) = own_listener();
        let socket = ListedSocket { inode: 0, ..socket };
        let mut owners = SocketOwners::new(Path::new("/proc"));
        assert!(!owners.find(std::slice::from_ref(&socket), scope(&[], false)).is_put_off);
        assert_eq!(owners.holder(&socket), Holder::Kernel);
    }
}
