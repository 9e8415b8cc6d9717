//! What the actor does in a netns beside the looks: step by step what a look left to do, and leaving. A step may wait for the
//! kernel, so there is one between two rounds of looks, and none before the first.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use portolan_engine::model::identity::{BootTime, NetnsId};

use super::enter;
use super::known::EARLY_LOOKS_MS;
use super::thread::NetnsThread;
use crate::source::clock;

/// Netns in which the actor has something left to do, by inode number. Those that have a name come first: a runtime or an
/// administrator made them. Any process may make others, as many as it likes, so between two steps in those the kernel has
/// as long a rest as the first one took.
#[derive(Debug, Default)]
pub(super) struct ToAct {
    named: VecDeque<u64>,
    nameless: VecDeque<u64>,
    queued: BTreeSet<u64>,
    rests_until: Option<BootTime>,
}

impl ToAct {
    /// Behind its like; where it is in the queue it keeps its place.
    pub fn push(&mut self, inode: u64, has_name: bool) {
        if self.queued.insert(inode) {
            if has_name { &mut self.named } else { &mut self.nameless }.push_back(inode);
        }
    }

    /// The next one, and whether it has a name.
    fn pop(&mut self, now: BootTime) -> Option<(u64, bool)> {
        let (inode, has_name) = match self.named.pop_front() {
            Some(inode) => (inode, true),
            None if self.rests_until.is_none_or(|end| now >= end) => (self.nameless.pop_front()?, false),
            None => return None,
        };
        self.queued.remove(&inode);
        Some((inode, has_name))
    }

    /// Until the next step may begin; none where nothing is left.
    pub fn pause(&self, now: BootTime) -> Option<Duration> {
        if !self.named.is_empty() {
            return Some(Duration::ZERO);
        }
        let rest = self.rests_until.map_or(Duration::ZERO, |end| end.since(now));
        (!self.nameless.is_empty()).then_some(rest)
    }
}

impl NetnsThread {
    /// One step in the netns that waits longest.
    pub(super) fn act_next(&mut self) {
        let begun = clock::now();
        let Some((inode, has_name)) = self.to_act.pop(begun) else { return };
        let Some(netns) = self.known.get(&inode).map(|known| known.facts.netns) else { return };
        let acted = self.act_in(inode, netns);
        if !has_name {
            let now = clock::now();
            self.to_act.rests_until = Some(now.after(now.since(begun)));
        }
        match acted {
            Ok(true) => self.to_act.push(inode, has_name),
            Ok(false) => {}
            Err(error) => {
                // Gone, replaced or closed to us: a look tells which, and says so.
                tracing::debug!(inode, %error, "cannot act in a netns");
                let [soon, ..] = EARLY_LOOKS_MS;
                let soon = clock::now().after(Duration::from_millis(soon));
                if let Some(known) = self.known.get_mut(&inode) {
                    known.next_look = known.next_look.min(soon);
                }
            }
        }
    }

    fn act_in(&mut self, inode: u64, netns: NetnsId) -> io::Result<bool> {
        let ways = self.known.get(&inode).map(|known| known.candidate.ways_in(&self.parts.options.proc_root));
        let entered = if inode == self.home.inode {
            None
        } else {
            Some(self.home.enter_any(ways.unwrap_or_default(), inode)?)
        };
        // Inode numbers are used again, and what is attached counts for the netns it was made for.
        if enter::identity(inode)? != netns {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another netns has its inode number now"));
        }
        let is_more = self.parts.actor.act(netns);
        drop(entered);
        Ok(is_more)
    }

    /// Goes once more into every netns, for what the actor can only take away from inside.
    pub(super) fn leave_all(&mut self) {
        for (inode, known) in std::mem::take(&mut self.known) {
            let netns = known.facts.netns;
            if inode == self.home.inode {
                self.parts.actor.leave(netns);
                continue;
            }
            let ways = known.candidate.ways_in(&self.parts.options.proc_root);
            // One that cannot be entered any more takes its interfaces with it.
            if let Ok(entered) = self.home.enter_any(ways, inode) {
                self.parts.actor.leave(netns);
                drop(entered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000);

    #[test]
    fn each_waits_once_and_those_that_are_not_done_queue_again() {
        let mut to_act = ToAct::default();
        for inode in [3, 1, 3] {
            to_act.push(inode, true);
        }
        assert_eq!(to_act.pop(NOW), Some((3, true)));
        to_act.push(3, true);
        assert_eq!([to_act.pop(NOW), to_act.pop(NOW)], [Some((1, true)), Some((3, true))]);
        assert_eq!((to_act.pop(NOW), to_act.pause(NOW)), (None, None));
    }

    #[test]
    fn the_nameless_come_last_and_with_rests() {
        let mut to_act = ToAct::default();
        to_act.push(1, false);
        to_act.push(2, true);
        assert_eq!(to_act.pop(NOW), Some((2, true)));
        let rest = Duration::from_millis(11);
        to_act.rests_until = Some(NOW.after(rest));
        assert_eq!((to_act.pop(NOW), to_act.pause(NOW)), (None, Some(rest)));
        to_act.push(3, true);
        assert_eq!(to_act.pause(NOW), Some(Duration::ZERO));
        assert_eq!(to_act.pop(NOW), Some((3, true)));
        assert_eq!(to_act.pop(NOW.after(rest)), Some((1, false)));
    }
}
