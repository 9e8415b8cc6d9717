//! Network namespaces: what is known about each, when each was last scanned, what each occupies, and which netns a
//! path means.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId};
use crate::model::netns::{NetnsFacts, canonical};
use crate::model::process::{Holder, Process};
use crate::state::quota::Usage;
use crate::state::sockets::HeldBy;
use crate::state::storms::StormState;

/// How long an ended netns is remembered, for facts that come late.
const MEMORY: Duration = Duration::from_secs(60);

/// One netns.
#[derive(Debug, Default)]
pub(crate) struct Netns {
    /// What a source reported; `None` if only sockets or traffic are known.
    facts: Option<Arc<NetnsFacts>>,
    /// A socket that was last seen earlier than this is closed.
    floor: BootTime,
    /// Latest time at which the netns was seen to exist.
    seen_at: Option<BootTime>,
    /// Latest time at which the netns was seen to have ended.
    gone_at: Option<BootTime>,
    /// Time of the latest scan.
    scanned_at: Option<BootTime>,
    /// Time of the first scan since the netns last came into being.
    first_scanned_at: Option<BootTime>,
    /// What its ports, sockets and peers occupy.
    usage: Usage,
    /// True if no pod's path claims the netns.
    unclaimed: bool,
    /// Its ports that make findings and have no pod.
    pub storm: StormState,
    /// The last process, shared by consecutive sockets of the same process.
    last_process: Option<Arc<Process>>,
}

impl Netns {
    /// Returns true for the host's own netns.
    #[must_use]
    pub(crate) fn is_host(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.is_host)
    }

    /// Returns true if the netns ended and was not seen since.
    #[must_use]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone_at.is_some() && self.gone_at >= self.seen_at
    }

    /// Returns true if its sockets were scanned since it last came into being.
    #[must_use]
    pub(crate) fn is_scanned(&self) -> bool {
        !self.is_gone() && self.scanned_at > self.gone_at
    }

    /// Returns the time of the first scan since the netns last came into being.
    #[must_use]
    pub(crate) const fn first_scanned_at(&self) -> Option<BootTime> {
        self.first_scanned_at
    }

    /// Notes a scan. Returns true if it is the first one.
    pub(crate) fn scan(&mut self, at: BootTime) -> bool {
        let before = self.is_scanned();
        if Some(at) > self.gone_at && self.first_scanned_at.is_none_or(|first| at < first) {
            self.first_scanned_at = Some(at);
        }
        self.floor = self.floor.max(at);
        self.scanned_at = self.scanned_at.max(Some(at));
        !before && self.is_scanned()
    }

    /// Returns the holder of a socket. The process is shared with the previous socket if both are the same.
    pub(crate) fn share_holder(&mut self, holder: Holder) -> HeldBy {
        let process = match holder {
            Holder::Unknown => return HeldBy::Unknown,
            Holder::Nobody => return HeldBy::Nobody,
            Holder::Kernel => return HeldBy::Kernel,
            Holder::Process(process) => process,
        };
        if let Some(last) = &self.last_process
            && **last == process
        {
            return HeldBy::Process(Arc::clone(last));
        }
        let process = Arc::new(process);
        self.last_process = Some(Arc::clone(&process));
        HeldBy::Process(process)
    }
}

/// All netns.
#[derive(Debug, Default)]
pub(crate) struct NetnsIndex {
    all: HashMap<NetnsId, Netns>,
    /// Netns by path, with the time at which each was last seen there. The latest is the one that is there.
    by_path: HashMap<String, BTreeMap<NetnsId, BootTime>>,
    /// Ended netns, with the time at which each is forgotten.
    leaving: VecDeque<(BootTime, NetnsId)>,
    host: Option<NetnsId>,
    /// What all unclaimed netns occupy together.
    unclaimed: Usage,
}

impl NetnsIndex {
    #[must_use]
    pub(crate) fn get(&self, netns: NetnsId) -> Option<&Netns> {
        self.all.get(&netns)
    }

    pub(crate) fn get_mut(&mut self, netns: NetnsId) -> Option<&mut Netns> {
        self.all.get_mut(&netns)
    }

    /// Returns a netns, added if it is new.
    pub(crate) fn entry(&mut self, netns: NetnsId) -> &mut Netns {
        self.all.entry(netns).or_default()
    }

    /// Forgets a netns about which nothing was reported and for which nothing is kept. Many end before a source finds
    /// them.
    pub(crate) fn prune(&mut self, netns: NetnsId) {
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

    /// Returns the number of remembered netns, including ended ones.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds to what a netns occupies.
    pub(crate) fn charge(&mut self, netns: NetnsId, more: Usage) {
        let netns = self.all.entry(netns).or_default();
        netns.usage.add(more);
        if netns.unclaimed {
            self.unclaimed.add(more);
        }
    }

    /// Subtracts from what a netns occupies.
    pub(crate) fn refund(&mut self, netns: NetnsId, less: Usage) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        netns.usage.remove(less);
        if netns.unclaimed {
            self.unclaimed.remove(less);
        }
    }

    /// Counts what a netns occupies towards the unclaimed ones, or no longer.
    pub(crate) fn settle_claim(&mut self, netns: NetnsId, unclaimed: bool) {
        let Some(netns) = self.all.get_mut(&netns) else { return };
        match (std::mem::replace(&mut netns.unclaimed, unclaimed), unclaimed) {
            (false, true) => self.unclaimed.add(netns.usage),
            (true, false) => self.unclaimed.remove(netns.usage),
            _ => {}
        }
    }

    /// Returns what all unclaimed netns occupy together.
    #[must_use]
    pub(crate) const fn unclaimed(&self) -> Usage {
        self.unclaimed
    }

    #[must_use]
    pub(crate) fn facts(&self, netns: NetnsId) -> Option<&Arc<NetnsFacts>> {
        self.all.get(&netns)?.facts.as_ref()
    }

    /// Returns the time before which a socket of this netns that was not seen since is closed.
    #[must_use]
    pub(crate) fn floor(&self, netns: NetnsId) -> BootTime {
        self.all.get(&netns).map_or(BootTime(0), |netns| netns.floor)
    }

    #[must_use]
    pub(crate) fn is_host(&self, netns: NetnsId) -> bool {
        self.all.get(&netns).is_some_and(Netns::is_host)
    }

    /// Returns the latest time at which the netns was seen to have ended.
    #[must_use]
    pub(crate) fn ended_at(&self, netns: NetnsId) -> Option<BootTime> {
        self.all.get(&netns)?.gone_at
    }

    /// Returns the netns that is mounted at this path.
    #[must_use]
    pub(crate) fn at_path(&self, path: &str) -> Option<NetnsId> {
        let seen = self.by_path.get(canonical(path))?;
        seen.iter().max_by_key(|(id, at)| (**at, **id)).map(|(id, _)| *id)
    }

    /// Returns the host's own netns, if it was reported.
    #[must_use]
    pub(crate) fn host(&self) -> Option<NetnsId> {
        self.host
    }

    /// Learns facts that held at `at`. Returns false if nothing changed. Facts older than the end of the netns only name
    /// it, until it is forgotten.
    pub(crate) fn learn(&mut self, facts: NetnsFacts, at: BootTime) -> bool {
        let id = facts.netns;
        let netns = self.all.entry(id).or_default();
        if netns.seen_at.is_some_and(|seen| seen > at) {
            return false;
        }
        let was_gone = netns.is_gone();
        netns.seen_at = Some(at);
        let is_gone = netns.is_gone();
        if was_gone == is_gone && netns.facts.as_deref() == Some(&facts) {
            return !is_gone && self.hold_paths(&facts, at);
        }
        let facts = Arc::new(facts);
        if let Some(before) = netns.facts.replace(Arc::clone(&facts)) {
            self.forget_paths(&before);
        }
        if is_gone {
            return true;
        }
        if facts.is_host {
            self.host = Some(id);
        }
        self.hold_paths(&facts, at);
        true
    }

    /// Notes that the netns was at its paths. Returns true if another one was there until now.
    fn hold_paths(&mut self, facts: &NetnsFacts, at: BootTime) -> bool {
        let mut is_news = false;
        for path in &facts.paths {
            let before = self.at_path(path);
            self.by_path.entry(canonical(path).to_owned()).or_default().insert(facts.netns, at);
            is_news |= before != self.at_path(path);
        }
        is_news
    }

    /// Marks a netns as ended at `at`. Returns true if it was alive before and is ended now.
    pub(crate) fn end(&mut self, id: NetnsId, at: BootTime, now: BootTime) -> bool {
        let netns = self.all.entry(id).or_default();
        let was_gone = netns.is_gone();
        netns.gone_at = netns.gone_at.max(Some(at));
        netns.first_scanned_at = netns.first_scanned_at.filter(|first| Some(*first) > netns.gone_at);
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

    /// Returns when [`Self::sweep`] has something to forget next.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Forgets ended netns for which nothing is kept.
    pub(crate) fn sweep(&mut self, now: BootTime) {
        while let Some((_, id)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            let Some(netns) = self.all.get(&id).filter(|netns| netns.is_gone()) else { continue };
            if netns.usage == Usage::default() {
                self.all.remove(&id);
            } else {
                self.leaving.push_back((now.after(MEMORY), id));
            }
        }
    }

    /// Returns true for an ended netns that is remembered.
    #[must_use]
    pub(crate) fn is_gone(&self, netns: NetnsId) -> bool {
        self.all.get(&netns).is_some_and(Netns::is_gone)
    }

    /// Returns the number of reported netns that have not ended.
    #[must_use]
    pub(crate) fn live(&self) -> usize {
        self.all.values().filter(|netns| netns.facts.is_some() && !netns.is_gone()).count()
    }

    fn forget_paths(&mut self, facts: &NetnsFacts) {
        for path in &facts.paths {
            let Some(seen) = self.by_path.get_mut(canonical(path)) else { continue };
            seen.remove(&facts.netns);
            if seen.is_empty() {
                self.by_path.remove(canonical(path));
            }
        }
    }
}

impl NetnsIndex {
    /// Returns how much a netns may still occupy of a table with `max` entries. One netns gets at most half, all
    /// unclaimed netns together at most a quarter.
    #[must_use]
    pub(crate) fn quota_left(&self, netns: NetnsId, max: usize, of: fn(&Usage) -> usize) -> usize {
        let own = self.get(netns);
        let left = max.div_ceil(2).saturating_sub(own.map_or(0, |netns| of(&netns.usage)));
        if own.is_some_and(|netns| netns.unclaimed) {
            left.min(max.div_ceil(4).saturating_sub(of(&self.unclaimed())))
        } else {
            left
        }
    }
}
