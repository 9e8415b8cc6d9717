//! Network namespaces: what is known about each, when it was last listed, and which netns a path means.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::identity::{BootTime, NetnsId};
use super::input::{NetnsFacts, Process};

/// How long a netns that ended is remembered, for records that come late.
const MEMORY: Duration = Duration::from_secs(60);

/// One netns.
#[derive(Debug, Default)]
pub struct Netns {
    pub facts: Option<Arc<NetnsFacts>>,
    /// A socket that was last seen earlier than this does not serve any more.
    pub floor: BootTime,
    pub scanned: bool,
    pub gone: bool,
    /// Ports that are kept for it.
    pub ports: usize,
    /// Sockets that are kept for it.
    pub sockets: usize,
    /// Sockets of one process share its description.
    last_process: Option<Arc<Process>>,
}

impl Netns {
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.is_host)
    }

    /// The description of a process, shared with the socket before where it is the same.
    pub fn share_process(&mut self, process: Option<Process>) -> Option<Arc<Process>> {
        let process = process?;
        if let Some(last) = &self.last_process
            && **last == process
        {
            return Some(Arc::clone(last));
        }
        let process = Arc::new(process);
        self.last_process = Some(Arc::clone(&process));
        Some(process)
    }
}

/// All netns.
#[derive(Debug, Default)]
pub struct NetnsIndex {
    all: HashMap<NetnsId, Netns>,
    by_path: HashMap<String, NetnsId>,
    leaving: VecDeque<(BootTime, NetnsId)>,
    host: Option<NetnsId>,
}

impl NetnsIndex {
    #[must_use]
    pub fn get(&self, netns: NetnsId) -> Option<&Netns> {
        self.all.get(&netns)
    }

    pub fn entry(&mut self, netns: NetnsId) -> &mut Netns {
        self.all.entry(netns).or_default()
    }

    #[must_use]
    pub fn facts(&self, netns: NetnsId) -> Option<&Arc<NetnsFacts>> {
        self.all.get(&netns)?.facts.as_ref()
    }

    #[must_use]
    pub fn floor(&self, netns: NetnsId) -> BootTime {
        self.all.get(&netns).map_or(BootTime(0), |netns| netns.floor)
    }

    #[must_use]
    pub fn is_host(&self, netns: NetnsId) -> bool {
        self.all.get(&netns).is_some_and(Netns::is_host)
    }

    /// The netns that is mounted at this path.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Option<NetnsId> {
        self.by_path.get(canonical(path)).copied()
    }

    /// The host's own netns, if it was seen.
    #[must_use]
    pub fn host(&self) -> Option<NetnsId> {
        self.host
    }

    /// Takes facts in; returns those before, or `None` if nothing changed.
    pub fn learn(&mut self, facts: NetnsFacts) -> Option<Option<Arc<NetnsFacts>>> {
        let id = facts.netns;
        let netns = self.all.entry(id).or_default();
        // Cookies never recur; inode numbers (highest bit set) do.
        let recurs = id.0 >> 63 == 1;
        if netns.gone && !recurs {
            return None;
        }
        if !netns.gone && netns.facts.as_deref() == Some(&facts) {
            return None;
        }
        netns.gone = false;
        if facts.is_host {
            self.host = Some(id);
        }
        let facts = Arc::new(facts);
        let before = netns.facts.replace(Arc::clone(&facts));
        if let Some(before) = &before {
            self.forget_paths(before);
        }
        for path in &facts.paths {
            self.by_path.insert(canonical(path).to_owned(), id);
        }
        Some(before)
    }

    /// Marks a netns as ended; true if it was not before.
    pub fn end(&mut self, id: NetnsId, at: BootTime, now: BootTime) -> bool {
        let netns = self.all.entry(id).or_default();
        netns.floor = netns.floor.max(at.after(Duration::from_nanos(1)));
        netns.scanned = false;
        if netns.gone {
            return false;
        }
        netns.gone = true;
        if let Some(facts) = netns.facts.clone() {
            self.forget_paths(&facts);
        }
        self.leaving.push_back((now.after(MEMORY), id));
        true
    }

    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, _)| *at)
    }

    pub fn sweep(&mut self, now: BootTime) {
        while let Some((_, id)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if self.all.get(&id).is_some_and(|netns| netns.gone) {
                self.all.remove(&id);
            }
        }
    }

    /// How many exist.
    #[must_use]
    pub fn live(&self) -> usize {
        self.all.values().filter(|netns| netns.facts.is_some() && !netns.gone).count()
    }

    fn forget_paths(&mut self, facts: &NetnsFacts) {
        for path in &facts.paths {
            if self.by_path.get(canonical(path)) == Some(&facts.netns) {
                self.by_path.remove(canonical(path));
            }
        }
    }
}

/// `/var/run` is `/run` on every node that matters.
#[must_use]
pub fn canonical(path: &str) -> &str {
    if path.starts_with("/var/run/") { path.get(4..).unwrap_or(path) } else { path }
}
