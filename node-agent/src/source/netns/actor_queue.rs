//! The netns in which the actor has steps left, and when the next step may run. A step may wait for the kernel, so one runs
//! between two rounds of looks, and none runs before the first round.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;

/// Queue of netns by inode number. Netns with a name come first, since a runtime or an administrator made them. Any process
/// can make any number of nameless ones, so after a step in one of those the next nameless one waits as long as that step
/// took.
#[derive(Debug, Default)]
pub(super) struct ActorQueue {
    named: VecDeque<u64>,
    nameless: VecDeque<u64>,
    queued: BTreeSet<u64>,
    nameless_paused_until: Option<BootTime>,
}

impl ActorQueue {
    /// Adds a netns at the end of its queue. A netns that is queued already keeps its position.
    pub fn push(&mut self, inode: u64, has_name: bool) {
        if self.queued.insert(inode) {
            if has_name { &mut self.named } else { &mut self.nameless }.push_back(inode);
        }
    }

    /// Takes the next netns whose step may run now. Returns its inode number and whether it has a name.
    pub fn pop(&mut self, now: BootTime) -> Option<(u64, bool)> {
        let (inode, has_name) = match self.named.pop_front() {
            Some(inode) => (inode, true),
            None if self.nameless_paused_until.is_none_or(|end| now >= end) => {
                (self.nameless.pop_front()?, false)
            }
            None => return None,
        };
        self.queued.remove(&inode);
        Some((inode, has_name))
    }

    /// Pauses the nameless netns after a step in one of them, which ran from `begun` to `ended`.
    pub fn pause_nameless(&mut self, begun: BootTime, ended: BootTime) {
        self.nameless_paused_until = Some(ended.after(ended.since(begun)));
    }

    /// Returns the time until the next step may run; `None` if the queue is empty.
    pub fn pause(&self, now: BootTime) -> Option<Duration> {
        if !self.named.is_empty() {
            return Some(Duration::ZERO);
        }
        let rest = self.nameless_paused_until.map_or(Duration::ZERO, |end| end.since(now));
        (!self.nameless.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000);

    #[test]
    fn each_waits_once_and_those_that_are_not_done_queue_again() {
        let mut queue = ActorQueue::default();
        for inode in [3, 1, 3] {
            queue.push(inode, true);
        }
        assert_eq!(queue.pop(NOW), Some((3, true)));
        queue.push(3, true);
        assert_eq!([queue.pop(NOW), queue.pop(NOW)], [Some((1, true)), Some((3, true))]);
        assert_eq!((queue.pop(NOW), queue.pause(NOW)), (None, None));
    }

    #[test]
    fn the_nameless_come_last_and_with_pauses() {
        let mut queue = ActorQueue::default();
        queue.push(1, false);
        queue.push(2, true);
        assert_eq!(queue.pop(NOW), Some((2, true)));
        let rest = Duration::from_nanos(11);
        queue.pause_nameless(BootTime(NOW.0 - 11), NOW);
        assert_eq!((queue.pop(NOW), queue.pause(NOW)), (None, Some(rest)));
        queue.push(3, true);
        assert_eq!(queue.pause(NOW), Some(Duration::ZERO));
        assert_eq!(queue.pop(NOW), Some((3, true)));
        assert_eq!(queue.pop(NOW.after(rest)), Some((1, false)));
    }
}
