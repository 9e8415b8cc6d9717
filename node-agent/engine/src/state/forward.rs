//! A port that no socket of its own serves: the rules of its netns lead it elsewhere.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::model::identity::BootTime;

/// How long a forwarded port counts as open without a connection. Connection tracking forgets a connection that ended
/// within two minutes at most, by default.
pub(crate) const FORWARD_LIFE: Duration = Duration::from_secs(300);

/// Where the rules of a netns lead a port, as its connections show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Address and port of the target.
    pub to: (IpAddr, u16),
    /// When a connection was first seen.
    pub first_at: BootTime,
    /// When a connection was last seen.
    pub seen_at: BootTime,
}

impl Forward {
    /// A port that is seen to be forwarded at `at`.
    #[must_use]
    pub(crate) const fn new(to: (IpAddr, u16), at: BootTime) -> Self {
        Self { to, first_at: at, seen_at: at }
    }

    /// Learns what was seen at another time; the later target counts.
    pub(crate) fn learn(&mut self, other: Self) {
        if (other.seen_at, other.to) > (self.seen_at, self.to) {
            self.to = other.to;
        }
        self.first_at = self.first_at.min(other.first_at);
        self.seen_at = self.seen_at.max(other.seen_at);
    }
}

/// A redirection of a port to another port of the same netns, and when it was last seen.
pub(crate) type Redirect = (BootTime, NonZeroU16);
