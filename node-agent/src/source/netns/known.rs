//! What the netns thread remembers of one netns, and how much of it a look is about.

use portolan_engine::model::identity::{BootTime, SocketCookie};
use portolan_engine::model::netns::NetnsFacts;

use super::budget::Pace;
use super::candidates::Candidate;
use super::look::Beyond;

/// After a netns appeared, its interfaces follow within moments (CNI).
pub(super) const EARLY_LOOKS_MS: [u64; 6] = [20, 50, 100, 200, 400, 800];
/// The range of ephemeral ports is set when a pod is made, and read again only with every one of so many later looks.
const EPHEMERAL_EVERY: usize = 16;

/// One netns that was entered.
pub(super) struct Known {
    pub candidate: Candidate,
    pub facts: NetnsFacts,
    pub sockets: Box<[SocketCookie]>,
    /// What was told of it that is not kept.
    pub beyond: Beyond,
    /// How often it was looked at again.
    pub looks: usize,
    pub next_look: BootTime,
    /// When a look may be asked for.
    pub ready_at: BootTime,
    /// Somebody asked for its sockets.
    pub asked: bool,
}

impl Known {
    /// When it is to be looked at next: while it is in the rotation, at that one's pace.
    pub fn due(&self, pace: Pace) -> BootTime {
        if self.is_rotating() { self.next_look.max(pace.ready_at()) } else { self.next_look }
    }

    /// Nothing but the time that passed asks for its next look.
    pub fn is_rotating(&self) -> bool {
        self.looks >= EARLY_LOOKS_MS.len() && !self.asked && self.next_look != BootTime(0)
    }

    /// What hardly ever changes need not be read again yet.
    pub fn is_kept(&self) -> bool {
        self.looks > EARLY_LOOKS_MS.len() && !self.looks.is_multiple_of(EPHEMERAL_EVERY)
    }
}

/// How much of a netns a look is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its sockets too.
    Whole,
    /// Interfaces and addresses, and its sockets only if it turns out to be another netns.
    Interfaces,
}
