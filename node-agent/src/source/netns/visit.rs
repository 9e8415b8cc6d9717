//! Visits to a netns: enters it, looks at it or lets the actor work in it, and returns to the agent's own netns.

use std::io;
use std::path::{Path, PathBuf};

use portolan_engine::model::identity::NetnsId;

use super::candidates::Candidate;
use super::enter::{self, HomeNetns, NetnsGuard};
use super::forwarding::own_addresses;
use super::known_netns::{KnownNetns, LookDepth};
use super::look::{EphemeralPorts, Look, has_tracked_connections, look};
use super::notifications::Notifications;
use super::{HostNetns, NetnsActor, socket_entry};
use crate::source::conntrack::forwarded::{self, ForwardedConnections, Tracked};
use crate::source::scan::connections::{Connections, listed_connections};
use crate::source::scan::{SocketList, listed_sockets};

/// Result of one look at a netns.
pub(super) struct Visited {
    pub look: Look,
    /// `None` if the sockets were not to be listed, or could not be listed.
    pub sockets: Option<SocketList>,
    /// Why the sockets could not be listed.
    pub failure: Option<io::Error>,
    /// True if the actor has steps left in this netns.
    pub has_actor_steps: bool,
    /// True if the netns forwards packets and tracks connections, so that it may forward ports.
    pub may_forward: bool,
    /// Subscribed before the first look at a netns whose name has just appeared.
    pub notifications: Option<Notifications>,
}

/// Enters netns, and runs the actor in them.
pub(super) struct Visitor {
    pub home: HomeNetns,
    pub proc_root: PathBuf,
    /// Inode of the host's netns.
    pub host_inode: u64,
    /// What to do with the host's netns.
    pub host: HostNetns,
    pub actor: Box<dyn NetnsActor>,
}

impl Visitor {
    /// Looks at a netns and calls [`NetnsActor::enter`] in it. `known` is the result of the previous look.
    ///
    /// # Errors
    /// When the netns cannot be entered, or its identity, interfaces or addresses cannot be read.
    pub fn look(
        &mut self,
        inode: u64,
        candidate: &Candidate,
        depth: LookDepth,
        known: Option<&KnownNetns>,
    ) -> io::Result<Visited> {
        let is_host = inode == self.host_inode;
        let entered = enter_other(&self.home, &self.proc_root, inode, candidate)?;
        // Without socket events every early look lists the sockets, whatever the kernel tells of.
        let subscribes = known.is_none() && depth == LookDepth::NewName && self.actor.has_socket_events();
        let notifications = subscribes.then(Notifications::here).and_then(Result::ok);
        let look = look(inode, candidate.paths.clone(), is_host, ephemeral_ports(depth, known))?;
        let before = known.filter(|_| depth == LookDepth::Interfaces).map(|known| &known.facts);
        let is_same_netns = before.is_some_and(|facts| facts.netns == look.facts.netns);
        let runs_actor = !is_host || self.host == HostNetns::Scanned;
        // The host's interfaces mostly carry the traffic of pods.
        let own_interfaces = if is_host { &[] } else { look.interfaces.as_slice() };
        let has_actor_steps = runs_actor && self.actor.enter(&look.facts, own_interfaces);
        let lists_sockets = !is_host || self.host != HostNetns::FactsOnly;
        let listed = (lists_sockets && !is_same_netns).then(listed_sockets);
        let may_forward = look.forwards && has_tracked_connections();
        drop(entered);
        let (sockets, failure) = match listed.transpose() {
            Ok(sockets) => (sockets, None),
            Err(error) => (None, Some(error)),
        };
        Ok(Visited { look, sockets, failure, has_actor_steps, may_forward, notifications })
    }

    /// Runs one step of the actor in a netns. Returns true if the actor has more steps there.
    ///
    /// # Errors
    /// When the netns cannot be entered, or another netns has its inode number now.
    pub fn act(&mut self, inode: u64, known: &KnownNetns) -> io::Result<bool> {
        // What is attached counts for the netns that it was made for.
        let entered = enter_known(&self.home, &self.proc_root, inode, known)?;
        let has_more = self.actor.act(known.facts.netns);
        drop(entered);
        Ok(has_more)
    }

    /// Lists the connections of a netns.
    ///
    /// # Errors
    /// When the netns cannot be entered, another netns has its inode number now, or the connections cannot be listed.
    pub fn connections(&self, inode: u64, known: &KnownNetns) -> io::Result<Connections> {
        let entered = enter_known(&self.home, &self.proc_root, inode, known)?;
        let listed = listed_connections();
        drop(entered);
        listed
    }

    /// Reads which connections a netns forwards.
    ///
    /// # Errors
    /// When the netns cannot be entered, another netns has its inode number now, or its connection tracking cannot be
    /// read.
    pub fn forwarded(&self, inode: u64, known: &KnownNetns) -> io::Result<ForwardedConnections> {
        let own = own_addresses(&known.facts.addresses);
        let keeps = |connection: &Tracked, kept| known.forwarding.keeps(connection, kept);
        let entered = enter_known(&self.home, &self.proc_root, inode, known)?;
        let found = if has_tracked_connections() {
            forwarded::read(|address| own.contains(&address), keeps)
        } else {
            Ok(ForwardedConnections::default())
        };
        drop(entered);
        found
    }

    /// Lets the actor remove what it can only remove from inside the netns.
    pub fn leave(&mut self, inode: u64, known: &KnownNetns) {
        let netns: NetnsId = known.facts.netns;
        if !self.actor.must_leave(netns) {
            return;
        }
        // A netns that cannot be entered any more takes its interfaces, and what is attached to them, with it.
        if let Ok(entered) = enter_other(&self.home, &self.proc_root, inode, &known.candidate) {
            self.actor.leave(netns);
            drop(entered);
        }
    }
}

fn ephemeral_ports(depth: LookDepth, known: Option<&KnownNetns>) -> EphemeralPorts<'_> {
    match known {
        None if depth == LookDepth::NewName => EphemeralPorts::Default,
        Some(known) if depth == LookDepth::Interfaces || known.reuses_ephemeral_ports() => {
            EphemeralPorts::Of(&known.facts)
        }
        _ => EphemeralPorts::Read,
    }
}

/// Enters the netns of an earlier look. Inode numbers are reused, so its identity is checked.
fn enter_known<'home>(
    home: &'home HomeNetns,
    proc_root: &Path,
    inode: u64,
    known: &KnownNetns,
) -> io::Result<Option<NetnsGuard<'home>>> {
    let entered = enter_other(home, proc_root, inode, &known.candidate)?;
    if enter::identity(inode)? != known.facts.netns {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another netns has its inode number now"));
    }
    Ok(entered)
}

/// Enters a netns by any of its candidate's paths; returns `None` for the agent's own netns, which the thread is in already.
fn enter_other<'home>(
    home: &'home HomeNetns,
    proc_root: &Path,
    inode: u64,
    candidate: &Candidate,
) -> io::Result<Option<NetnsGuard<'home>>> {
    if inode == home.inode {
        return Ok(None);
    }
    if let Some(entry) = candidate.socket {
        return home.enter_file(&socket_entry::open(entry)?, inode).map(Some);
    }
    home.enter_any(candidate.entry_paths(proc_root), inode).map(Some)
}
