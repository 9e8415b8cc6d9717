//! Work on request in single netns, within one budget for all of them: scans, lists of connections, and reads of connection
//! tracking. The netns that waits longest comes first.

use std::io;

use portolan_engine::model::connection::ConnectionList;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::ForwardedPorts;

use super::NetnsThread;
use super::looks::LookCause;
use crate::source::clock;
use crate::source::netns::budget::earliest_repeat;
use crate::source::netns::known_netns::{LookDepth, Work};

/// Maximum number of pieces of work between two looks at the mailbox.
const AT_ONCE: usize = 16;

impl NetnsThread {
    /// Returns the work that waits longest: when it may begin, in which netns, and what.
    pub(super) fn next_work(&self) -> Option<(BootTime, u64, Work)> {
        let work = self.known.iter().filter_map(|(inode, known)| {
            let (since, work) = known.first_work()?;
            Some((since.max(known.ready_at), since, *inode, work))
        });
        // Of those that may begin now the one that waits longest, else the one that may begin first.
        let now = clock::now();
        let (due, _, inode, work) = work.min_by_key(|(due, since, ..)| ((*due).max(now), *since))?;
        Some((due.max(self.requests.ready_at()), inode, work))
    }

    /// Does the requested work that the budget allows now.
    pub(super) fn run_work(&mut self) {
        for _ in 0..AT_ONCE {
            match self.next_work() {
                Some((due, inode, work)) if due <= clock::now() && !self.is_stopping => {
                    self.work(inode, work)
                }
                _ => return,
            }
        }
    }

    fn work(&mut self, inode: u64, work: Work) {
        if work == Work::Scan {
            let Some(candidate) = self.known.get(&inode).map(|known| known.candidate.clone()) else { return };
            self.look_at(inode, candidate, LookDepth::Full, LookCause::Request);
            return;
        }
        let before = clock::thread_cpu();
        let done = match work {
            Work::ListConnections => self.list_connections(inode),
            _ => self.read_forwarded(inode),
        };
        if let Err(error) = done {
            tracing::debug!(inode, %error, "cannot read the connections of a netns");
            self.report_loss("netns-look-failed", usize::from(error.kind() != io::ErrorKind::NotFound));
        }
        let (cost, now) = (clock::thread_cpu().saturating_sub(before), clock::now());
        self.requests.spend(now, cost);
        if let Some(known) = self.known.get_mut(&inode) {
            known.ready_at = earliest_repeat(now, cost);
        }
    }

    /// Sends the connections of a netns to the engine. Sends no list that is incomplete: what it does not list would count as
    /// ended.
    fn list_connections(&mut self, inode: u64) -> io::Result<()> {
        let Some(known) = self.known.get_mut(&inode) else { return Ok(()) };
        known.waiting.connections = None;
        let (at, netns) = (clock::now(), known.facts.netns);
        let listed = self.visitor.connections(inode, known)?;
        if listed.missing > 0 {
            self.report_loss("connections-unlisted", listed.missing);
        } else {
            self.send(Input::ConnectionsListed(ConnectionList {
                netns,
                at,
                connections: listed.connections,
            }));
        }
        Ok(())
    }

    /// Sends the ports that a netns forwards to the engine, if they are news.
    fn read_forwarded(&mut self, inode: u64) -> io::Result<()> {
        let Some(known) = self.known.get_mut(&inode) else { return Ok(()) };
        let (at, netns) = (clock::now(), known.facts.netns);
        let found = self.visitor.forwarded(inode, known);
        let forwarded = found.as_ref().ok().map(|found| known.forwarding.read(netns, found, at));
        known.forwarding.was_read(clock::now());
        let unparsable = found?.unparsable;
        self.report_loss("conntrack-failed", unparsable);
        if let Some(forwarded) = forwarded {
            self.report_loss("pod-conntrack-full", forwarded.omitted);
            if let Some(ports) = forwarded.ports {
                self.send(Input::Forwarded(ForwardedPorts { netns, at, ports }));
            }
        }
        Ok(())
    }

    /// Publishes how many netns wait for a scan or a list of connections, and since when. Wakes nobody: the number changes
    /// with every request.
    pub(super) fn report_waiting(&self) {
        let now = clock::now();
        // A scan that is planned for later does not wait.
        let since =
            self.known.values().filter_map(|known| known.waiting.since()).filter(|since| *since <= now);
        let (waiting, since) = since.fold((0, None), |(count, first): (usize, Option<BootTime>), since| {
            (count + 1, Some(first.map_or(since, |first| first.min(since))))
        });
        self.progress.send_if_modified(|progress| {
            (progress.waiting, progress.waiting_since) = (waiting, since);
            false
        });
    }
}
