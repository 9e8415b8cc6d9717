//! Who spoke first on a UDP port: a port that was called serves, one that only got answers is a client's.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::identity::BootTime;

/// What a UDP port is used for, as far as its traffic shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Somebody called the port.
    Server,
    /// The port addressed others at once or got answers, and nobody called it.
    Client,
    /// Neither.
    #[default]
    Waiting,
}

/// How many addresses called, listed as peers or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Callers {
    /// No address.
    #[default]
    None,
    /// One address.
    One(IpAddr),
    /// More than one address.
    Several,
}

/// Who spoke first on a UDP port, and when. Each time is that of the latest drain in which it happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Direction {
    /// A peer sent something unasked.
    called_at: Option<BootTime>,
    /// A peer inside the pod sent something unasked.
    called_within_at: Option<BootTime>,
    /// A peer answered that the port had addressed first.
    answered_at: Option<BootTime>,
    /// When the port first addressed a peer that was not heard before.
    asked_at: Option<BootTime>,
    callers: Callers,
}

impl Direction {
    /// Notes that a peer sent something unasked. `within`: a socket lookup counted it, as for calls inside the pod.
    pub(crate) fn call(&mut self, caller: IpAddr, within: bool, at: BootTime) {
        self.called_at = self.called_at.max(Some(at));
        if within {
            self.called_within_at = self.called_within_at.max(Some(at));
        }
        self.callers = match self.callers {
            Callers::None => Callers::One(caller),
            Callers::One(known) if known == caller => Callers::One(known),
            Callers::One(_) | Callers::Several => Callers::Several,
        };
    }

    /// Notes that the port addressed a peer first, at `asked_at`, and whether the drain at `at` has answers.
    pub(crate) fn ask(&mut self, asked_at: BootTime, is_answered: bool, at: BootTime) {
        self.asked_at = Some(self.asked_at.map_or(asked_at, |known| known.min(asked_at)));
        if is_answered {
            self.answered_at = self.answered_at.max(Some(at));
        }
    }

    /// Returns the role of sockets that serve since `first_at`. What arrives at the interface does not reach sockets that
    /// are bound to loopback only (`loopback`). A client asks `soon` after it opened, answered or not. A port that waited
    /// longer needs an answer to be a client's.
    #[must_use]
    pub(crate) fn role(&self, first_at: BootTime, loopback: bool, soon: Duration) -> Role {
        let called_at = if loopback { self.called_within_at } else { self.called_at };
        let asked_soon = self.asked_at.is_some_and(|at| (first_at..=first_at.after(soon)).contains(&at));
        if called_at >= Some(first_at) {
            Role::Server
        } else if asked_soon || self.answered_at >= Some(first_at) {
            Role::Client
        } else {
            Role::Waiting
        }
    }

    /// Returns true if the port addressed others and nobody called it, whichever sockets served then.
    #[must_use]
    pub(crate) const fn only_asked(&self) -> bool {
        self.asked_at.is_some() && self.called_at.is_none()
    }

    /// Returns true if more than one address called, as far as is known.
    #[must_use]
    pub(crate) const fn is_called_by_several(&self) -> bool {
        matches!(self.callers, Callers::Several)
    }
}
