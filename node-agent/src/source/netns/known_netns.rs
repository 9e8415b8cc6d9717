//! What the netns thread remembers of one netns, and how much of it the next look reads.

use portolan_engine::model::identity::{BootTime, SocketCookie};
use portolan_engine::model::netns::NetnsFacts;

use super::budget::RotationPace;
use super::candidates::Candidate;
use super::look::Omitted;

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
    /// Earliest time of a look on request.
    pub ready_at: BootTime,
    /// True if a scan of its sockets was requested.
    pub is_requested: bool,
}

impl KnownNetns {
    /// Returns when the next look is due: while the netns is in the rotation, not before the rotation's pace allows it.
    pub fn due(&self, pace: RotationPace) -> BootTime {
        if self.is_rotating() { self.next_look.max(pace.ready_at()) } else { self.next_look }
    }

    /// Returns true if only the passage of time makes the next look due.
    pub fn is_rotating(&self) -> bool {
        self.looks >= EARLY_LOOKS_MS.len() && !self.is_requested && self.next_look != BootTime(0)
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
    /// Interfaces and addresses; sockets only if the look finds another netns under the same inode number.
    Interfaces,
}
