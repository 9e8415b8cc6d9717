//! What the actor does in a netns beside the looks: step by step what a look left to do, and leaving. A step may wait for the
//! kernel, so there is one between two rounds of looks, and none before the first.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use super::enter;
use super::known::EARLY_LOOKS_MS;
use super::thread::NetnsThread;
use crate::engine::identity::NetnsId;
use crate::source::clock;

/// Netns in which the actor has something left to do, by inode number.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    queue: VecDeque<u64>,
    queued: BTreeSet<u64>,
}

impl Unfinished {
    /// Behind the others; where it is in the queue it keeps its place.
    pub fn push(&mut self, inode: u64) {
        if self.queued.insert(inode) {
            self.queue.push_back(inode);
        }
    }

    fn pop(&mut self) -> Option<u64> {
        let inode = self.queue.pop_front()?;
        self.queued.remove(&inode);
        Some(inode)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl NetnsThread {
    /// One step in the netns that waits longest.
    pub(super) fn act_next(&mut self) {
        let Some(inode) = self.unfinished.pop() else { return };
        let Some(netns) = self.known.get(&inode).map(|known| known.facts.netns) else { return };
        match self.act_in(inode, netns) {
            Ok(true) => self.unfinished.push(inode),
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
            let entered = ways.into_iter().find_map(|way| self.home.enter(&way, inode).ok());
            if entered.is_some() {
                self.parts.actor.leave(netns);
            }
            drop(entered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_once_and_those_that_are_not_done_queue_again() {
        let mut unfinished = Unfinished::default();
        for inode in [3, 1, 3] {
            unfinished.push(inode);
        }
        assert_eq!(unfinished.pop(), Some(3));
        unfinished.push(3);
        assert_eq!([unfinished.pop(), unfinished.pop(), unfinished.pop()], [Some(1), Some(3), None]);
        assert!(unfinished.is_empty());
    }
}
