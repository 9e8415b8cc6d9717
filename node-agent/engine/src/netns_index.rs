//! Network namespaces: what is known about each, when it was last listed, and which netns a path means.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::crowd::Crowd;
use super::identity::{BootTime, NetnsId};
use super::input::{NetnsFacts, Process};
use super::room::Taken;

/// How long a netns that ended is remembered, for records that come late.
const MEMORY: Duration = Duration::from_secs(60);

/// One netns.
#[derive(Debug, Default)]
pub struct Netns {
    pub facts: Option<Arc<NetnsFacts>>,
    /// A socket that was last seen earlier than this does not serve any more.
    pub floor: BootTime,
    /// The latest time at which it was seen to exist, to end, and to be listed.
    seen_at: Option<BootTime>,
    gone_at: Option<BootTime>,
    scanned_at: Option<BootTime>,
    pub taken: Taken,
    /// No pod's path claims it.
    pub homeless: bool,
    /// Its ports that make findings and have no pod.
    pub crowd: Crowd,
    /// Sockets of one process share its description.
    last_process: Option<Arc<Process>>,
}

impl Netns {
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.is_host)
    }

    /// It ended, as far as is known: nobody has seen it since.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone_at.is_some() && self.gone_at >= self.seen_at
    }

    /// Its sockets were listed since it last came to be.
    #[must_use]
    pub fn is_scanned(&self) -> bool {
        !self.is_gone() && self.scanned_at > self.gone_at
    }

    /// Notes that its sockets were listed; true if that had not been done before.
    pub fn scan(&mut self, at: BootTime) -> bool {
        let before = self.is_scanned();
        self.floor = self.floor.max(at);
        self.scanned_at = self.scanned_at.max(Some(at));
        !before && self.is_scanned()
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
    /// What is kept for all that no pod's path claims.
    homeless: Taken,
}

impl NetnsIndex {
    #[must_use]
    pub fn get(&self, netns: NetnsId) -> Option<&Netns> {
        self.all.get(&netns)
    }

    pub fn get_mut(&mut self, netns: NetnsId) -> Option<&mut Netns> {
        self.all.get_mut(&netns)
    }

    pub fn entry(&mut self, netns: NetnsId) -> &mut Netns {
        self.all.entry(netns).or_default()
    }

    /// Forgets a netns of which nothing was told and nothing is kept: many end before anybody finds them.
    pub fn prune(&mut self, netns: NetnsId) {
        let is_empty = |netns: &Netns| {
            netns.facts.is_none()
                && netns.floor == BootTime(0)
                && netns.gone_at.is_none()
                && netns.taken == Taken::default()
        };
        if self.all.get(&netns).is_some_and(is_empty) {
            self.all.remove(&netns);
        }
    }

    /// How many are remembered, those that ended included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Counts what is kept for a netns from now on.
    pub fn take(&mut self, netns: NetnsId, more: Taken) {
        let netns = self.all.entry(netns).or_default();
        netns.taken.add(more);
        if netns.homeless {
            self.homeless.add(more);
        }
    }

    /// Counts what is kept for it no more.
    pub fn give_back(&mut self, netns: NetnsId, less: Taken) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        netns.taken.remove(less);
        if netns.homeless {
            self.homeless.remove(less);
        }
    }

    /// Counts what is kept for it among that of the homeless, or not any more.
    pub fn settle_home(&mut self, netns: NetnsId, homeless: bool) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        match (std::mem::replace(&mut netns.homeless, homeless), homeless) {
            (false, true) => self.homeless.add(netns.taken),
            (true, false) => self.homeless.remove(netns.taken),
            _ => {}
        }
    }

    #[must_use]
    pub const fn homeless(&self) -> Taken {
        self.homeless
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

    /// Takes facts in that were true at `at`; returns those before, or `None` if nothing changed. Facts that are older than
    /// the end of the netns are kept as its name, until it is forgotten.
    pub fn learn(&mut self, facts: NetnsFacts, at: BootTime) -> Option<Option<Arc<NetnsFacts>>> {
        let id = facts.netns;
        let netns = self.all.entry(id).or_default();
        if netns.seen_at.is_some_and(|seen| seen > at) {
            return None;
        }
        let was_gone = netns.is_gone();
        netns.seen_at = Some(at);
        let is_gone = netns.is_gone();
        if was_gone == is_gone && netns.facts.as_deref() == Some(&facts) {
            return None;
        }
        let facts = Arc::new(facts);
        let before = netns.facts.replace(Arc::clone(&facts));
        if let Some(before) = &before {
            self.forget_paths(before);
        }
        if is_gone {
            return Some(before);
        }
        if facts.is_host {
            self.host = Some(id);
        }
        for path in &facts.paths {
            self.by_path.insert(canonical(path).to_owned(), id);
        }
        Some(before)
    }

    /// Marks a netns as ended at `at`; true if it was not before, and is now.
    pub fn end(&mut self, id: NetnsId, at: BootTime, now: BootTime) -> bool {
        let netns = self.all.entry(id).or_default();
        let was_gone = netns.is_gone();
        netns.gone_at = netns.gone_at.max(Some(at));
        netns.floor = netns.floor.max(at.after(Duration::from_nanos(1)));
        if was_gone || !netns.is_gone() {
            return false;
        }
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
            let Some(netns) = self.all.get(&id).filter(|netns| netns.is_gone()) else { continue };
            if netns.taken == Taken::default() {
                self.all.remove(&id);
            } else {
                self.leaving.push_back((now.after(MEMORY), id));
            }
        }
    }

    /// It ended, and is remembered.
    #[must_use]
    pub fn is_gone(&self, netns: NetnsId) -> bool {
        self.all.get(&netns).is_some_and(Netns::is_gone)
    }

    /// How many exist.
    #[must_use]
    pub fn live(&self) -> usize {
        self.all.values().filter(|netns| netns.facts.is_some() && !netns.is_gone()).count()
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
