//! Network namespaces: what is known about each, when each was last scanned, what each occupies, and which netns a
//! path means.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId};
use crate::model::netns::{NetnsFacts, canonical};
use crate::model::process::Process;
use crate::state::quota::Usage;
use crate::state::storms::StormState;

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
    pub usage: Usage,
    /// No pod's path claims it.
    pub unclaimed: bool,
    /// Its ports that make findings and have no pod.
    pub storm: StormState,
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
    unclaimed: Usage,
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
                && netns.usage == Usage::default()
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

    /// Counts what is kept for a netns from now on.
    pub fn charge(&mut self, netns: NetnsId, more: Usage) {
        let netns = self.all.entry(netns).or_default();
        netns.usage.add(more);
        if netns.unclaimed {
            self.unclaimed.add(more);
        }
    }

    /// Counts what is kept for it no more.
    pub fn refund(&mut self, netns: NetnsId, less: Usage) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        netns.usage.remove(less);
        if netns.unclaimed {
            self.unclaimed.remove(less);
        }
    }

    /// Counts what is kept for it among that of the homeless, or not any more.
    pub fn settle_claim(&mut self, netns: NetnsId, unclaimed: bool) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        match (std::mem::replace(&mut netns.unclaimed, unclaimed), unclaimed) {
            (false, true) => self.unclaimed.add(netns.usage),
            (true, false) => self.unclaimed.remove(netns.usage),
            _ => {}
        }
    }

    #[must_use]
    pub const fn unclaimed(&self) -> Usage {
        self.unclaimed
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
            if netns.usage == Usage::default() {
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

impl NetnsIndex {
    /// How much a netns may still take of a table for `max`, as far as the others must be left something.
    #[must_use]
    pub fn quota_left(&self, netns: NetnsId, max: usize, of: fn(&Usage) -> usize) -> usize {
        let own = self.get(netns);
        let left = max.div_ceil(2).saturating_sub(own.map_or(0, |netns| of(&netns.usage)));
        if own.is_some_and(|netns| netns.unclaimed) {
            left.min(max.div_ceil(4).saturating_sub(of(&self.unclaimed())))
        } else {
            left
        }
    }
}
