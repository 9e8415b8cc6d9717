//! The collecting half of `portolan scan`: one look at every netns, no programs loaded. All namespaces are listed first,
//! then one walk over the processes names the owners.

use std::collections::BTreeMap;
use std::io;

use crate::engine::identity::NetnsId;
use crate::engine::input::{NetnsFacts, NetnsScan};
use crate::source::clock;
use crate::source::netns::candidates::{self, Candidate};
use crate::source::netns::enter::Home;
use crate::source::netns::look::look;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::process::SocketOwners;
use crate::source::scan::{ListedSocket, listed_sockets};

/// What was seen at once.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Every netns that could be entered, with its sockets (`None`: the host's, and not asked for).
    pub netns: Vec<(NetnsFacts, Option<NetnsScan>)>,
    /// Every netns that could not, by inode: the answer is partial.
    pub failed: Vec<Failed>,
}

/// A netns that could not be looked at.
#[derive(Debug, Clone)]
pub struct Failed {
    pub inode: u64,
    pub candidate: Candidate,
    pub reason: String,
}

/// Looks at every netns once, on a thread of its own (setns needs one).
///
/// # Errors
/// When /proc is not there or no thread can be started.
pub fn collect(options: &NetnsOptions) -> io::Result<Collected> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("scan".to_owned())
            .spawn_scoped(scope, || collect_here(options))?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the scan thread panicked")))
    })
}

/// One netns before the owners are known.
type Listed = (NetnsFacts, Option<(crate::engine::identity::BootTime, Vec<ListedSocket>)>);

fn collect_here(options: &NetnsOptions) -> io::Result<Collected> {
    let home = Home::of_this_thread()?;
    let host_inode = candidates::host_inode(&options.proc_root, home.inode);
    let mut failed = Vec::new();
    let mut listed: Vec<Listed> = Vec::new();
    for (inode, candidate) in every_candidate(options, &home) {
        match list(options, &home, inode, inode == host_inode, &candidate) {
            Ok(one) => listed.push(one),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed.push(Failed { inode, candidate, reason: error.to_string() }),
        }
    }
    let mut owners = SocketOwners::new(&options.proc_root);
    owners.find(listed.iter().flat_map(|(_, scan)| scan.iter().flat_map(|(_, sockets)| sockets)));
    let netns = listed.into_iter().map(|(facts, scan)| {
        let netns: NetnsId = facts.netns;
        let scan = scan.map(|(at, sockets)| NetnsScan {
            netns,
            at,
            sockets: sockets
                .iter()
                .map(|socket| socket.in_netns(netns, owners.owner(socket).cloned()))
                .collect(),
        });
        (facts, scan)
    });
    Ok(Collected { netns: netns.collect(), failed })
}

fn every_candidate(options: &NetnsOptions, home: &Home) -> BTreeMap<u64, Candidate> {
    let mut found: BTreeMap<u64, Candidate> = BTreeMap::new();
    for (inode, pids) in candidates::of_processes(&options.proc_root) {
        found.entry(inode).or_default().pids = pids;
    }
    for (inode, paths) in candidates::named(&options.dirs, home.nsfs).by_inode {
        found.entry(inode).or_default().paths = paths;
    }
    found.entry(home.inode).or_default();
    found
}

fn list(
    options: &NetnsOptions,
    home: &Home,
    inode: u64,
    is_host: bool,
    candidate: &Candidate,
) -> io::Result<Listed> {
    let _visit = if inode == home.inode {
        None
    } else {
        let mut visit = Err(io::Error::from(io::ErrorKind::NotFound));
        for way in candidate.ways_in(&options.proc_root) {
            visit = home.enter(&way, inode);
            if visit.is_ok() {
                break;
            }
        }
        Some(visit?)
    };
    let facts = look(inode, candidate.paths.clone(), is_host)?.facts;
    let at = clock::now();
    let scanned = !is_host || options.host != HostNetns::FactsOnly;
    let sockets = if scanned { Some((at, listed_sockets()?)) } else { None };
    Ok((facts, sockets))
}
