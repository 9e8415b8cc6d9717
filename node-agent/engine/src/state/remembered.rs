//! What is remembered of the findings of an earlier run. An entry counts as long as its port is served or its finding
//! holds; one that nothing claims is forgotten after a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::identity::{BootTime, NetnsId};
use crate::model::remembered::{RememberedFinding, RememberedPort};

/// Minimum time that an entry waits for its port or its finding.
const UNCLAIMED: Duration = Duration::from_secs(600);

/// The findings of an earlier run, by id.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    entries: BTreeMap<u64, Entry>,
    /// When the entries that nothing claimed are forgotten.
    expiry: Option<BootTime>,
    was_told: bool,
}

#[derive(Debug)]
struct Entry {
    finding: RememberedFinding,
    /// True once the port is served again, or the finding holds again.
    claimed: bool,
}

impl Remembered {
    /// Takes in the findings of the earlier run, at most `most`. Returns how many did not fit. Only the first call counts.
    pub(crate) fn tell(
        &mut self,
        findings: Vec<RememberedFinding>,
        most: usize,
        grace: Duration,
        now: BootTime,
    ) -> usize {
        if std::mem::replace(&mut self.was_told, true) {
            return 0;
        }
        let beyond = findings.len().saturating_sub(most);
        let kept = findings.into_iter().take(most);
        self.entries = kept.map(|finding| (finding.id, Entry { finding, claimed: false })).collect();
        if !self.entries.is_empty() {
            self.expiry = Some(now.after(UNCLAIMED.max(grace.saturating_mul(2))));
        }
        beyond
    }

    /// True if a finding with this id is remembered.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.entries.contains_key(&id)
    }

    /// Everything that is remembered, in the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RememberedFinding> {
        self.entries.values().map(|entry| &entry.finding)
    }

    /// What is remembered of the port with this id in this netns.
    pub(crate) fn port(&self, id: u64, netns: NetnsId) -> Option<RememberedPort> {
        let port = self.entries.get(&id)?.finding.port?;
        (port.netns == netns).then_some(port)
    }

    /// Since when the finding with this id was known, if it is remembered. `netns`: that of its served port, if it is about
    /// one.
    pub(crate) fn first_seen(&self, id: u64, netns: Option<NetnsId>) -> Option<BootTime> {
        let finding = self.entries.get(&id)?.finding;
        (finding.port.map(|port| port.netns) == netns).then_some(finding.first_seen)
    }

    /// Keeps an entry for as long as its port is served or its finding holds.
    pub(crate) fn claim(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.claimed = true;
        }
    }

    /// Forgets an entry.
    pub(crate) fn forget(&mut self, id: u64) {
        self.entries.remove(&id);
    }

    /// Returns when [`Self::sweep`] has something to forget next.
    pub(crate) const fn next_expiry(&self) -> Option<BootTime> {
        self.expiry
    }

    /// Forgets what nothing claimed in time.
    pub(crate) fn sweep(&mut self, now: BootTime) {
        if self.expiry.take_if(|expiry| *expiry <= now).is_some() {
            self.entries.retain(|_, entry| entry.claimed);
        }
    }
}
