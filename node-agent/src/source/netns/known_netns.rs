//! What the netns thread remembers of one netns, and how much of it the next look reads.

use portolan_engine::model::identity::{BootTime, SocketCookie};
use portolan_engine::model::netns::NetnsFacts;

use super::budget::RotationPace;
use super::candidates::Candidate;
use super::forwarding::Forwarding;
use super::look::Omitted;
use super::notifications::Notifications;

/// Delays in milliseconds of the looks that follow the first one: after a netns appears, CNI adds its interfaces within
/// moments.
pub(super) const EARLY_LOOKS_MS: [u64; 6] = [20, 50, 100, 200, 400, 800];
/// Number of later looks per read of the ephemeral port range, which is set when a pod is created and hardly ever changes.
const EPHEMERAL_EVERY: usize = 16;

/// A netns that was entered.
pub(super) struct KnownNetns {
    pub candidate: Candidate,
    pub facts: NetnsFacts,
    pub sockets: Box<[SocketCookie]>,
    /// Numbers of omitted interfaces and addresses that were reported.
    pub omitted: Omitted,
    /// Number of looks after the first one.
    pub looks: usize,
    pub next_look: BootTime,
    /// Earliest time of work on request.
    pub ready_at: BootTime,
    pub waiting: Waiting,
    pub forwarding: Forwarding,
    /// True until its first look is over.
    pub is_new: bool,
    /// Held during the early looks, and only while the netns has a name. Without it no early look is spared.
    pub notifications: Option<Notifications>,
}

/// Work in a netns that was requested and is not done, with the time of the first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// A scan of its sockets; a time in the future for one that is planned.
    pub scan: Option<BootTime>,
    /// A list of its connections.
    pub connections: Option<BootTime>,
}

/// Work in a netns that the budget of requests limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Scan,
    ListConnections,
    ReadForwarded,
}

impl Waiting {
    /// Returns when the first of the requests was made.
    pub fn since(self) -> Option<BootTime> {
        [self.scan, self.connections].into_iter().flatten().min()
    }
}

impl KnownNetns {
    /// Creates the state of a netns that is looked at for the first time.
    pub fn new(candidate: Candidate, facts: NetnsFacts) -> Self {
        Self {
            candidate,
            facts,
            sockets: Box::default(),
            omitted: Omitted::default(),
            looks: 0,
            next_look: BootTime(0),
            ready_at: BootTime(0),
            waiting: Waiting::default(),
            forwarding: Forwarding::default(),
            is_new: true,
            notifications: None,
        }
    }

    /// Returns true if an early look would hardly find more than the look before: nobody asked for it, and the kernel has not
    /// told of a change since. What it tells nobody, such as the first tracked connection, waits for the last early look.
    pub fn has_nothing_new(&self) -> bool {
        let is_asked_for = self.next_look == BootTime(0);
        !is_asked_for && self.notifications.as_ref().is_some_and(|notifications| !notifications.take())
    }

    /// Returns when the next look is due: while the netns is in the rotation, not before the rotation's pace allows it.
    pub fn due(&self, pace: RotationPace) -> BootTime {
        if self.is_rotating() { self.next_look.max(pace.ready_at()) } else { self.next_look }
    }

    /// Returns true if only the passage of time makes the next look due.
    pub fn is_rotating(&self) -> bool {
        self.looks >= EARLY_LOOKS_MS.len() && self.next_look != BootTime(0)
    }

    /// Returns the work that waits longest, and since when; a time in the future for work that is not due yet.
    pub fn first_work(&self) -> Option<(BootTime, Work)> {
        let work = [
            (self.waiting.scan, Work::Scan),
            (self.waiting.connections, Work::ListConnections),
            (self.forwarding.next, Work::ReadForwarded),
        ];
        work.into_iter().filter_map(|(since, work)| Some((since?, work))).min()
    }

    /// Returns true if the next look may reuse the known ephemeral port range.
    pub fn reuses_ephemeral_ports(&self) -> bool {
        self.looks > EARLY_LOOKS_MS.len() && !self.looks.is_multiple_of(EPHEMERAL_EVERY)
    }
}

/// How much of a netns a look reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookDepth {
    /// Interfaces, addresses and sockets.
    Full,
    /// The same, of a netns whose name has just appeared.
    NewName,
    /// Interfaces and addresses; sockets only if the look finds another netns under the same inode number.
    Interfaces,
}
