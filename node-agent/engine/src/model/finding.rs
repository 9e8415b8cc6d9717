//! A finding as reports show it.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::{Declaration, Exposure, Listener};
use crate::model::pod::{Container, PodRef};
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingState {
    Open,
    Suppressed,
    Resolved,
}

impl FindingState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Suppressed => "suppressed",
            Self::Resolved => "resolved",
        }
    }
}

/// The exception that keeps a finding from being open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Name of the rule.
    pub rule: String,
    pub reason: String,
}

/// A port that is not as its manifest says.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Same as its listener's id, or derived alike where there is none.
    pub id: String,
    pub state: FindingState,
    pub code: FindingCode,
    /// One sentence: what, and what to do next.
    pub message: String,
    pub first_seen: BootTime,
    pub last_seen: BootTime,
    pub pod: Option<PodRef>,
    pub container: Option<Container>,
    /// `None` where the finding is about a pod, or about a port that nobody serves.
    pub listener: Option<Arc<Listener>>,
    /// The port that it is about, which for a stale declaration no listener tells; `None` for a port storm.
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
    pub declaration: Declaration,
    pub exposure: Exposure,
    pub policy: Policy,
    pub traffic: Traffic,
    /// Also of one that was resolved, if it was suppressed until then.
    pub suppressed_by: Option<Arc<Suppression>>,
    /// When the socket opened, where that is known and this is the first that is told of the finding; for the latency
    /// metric. Not reported.
    pub opened_at: Option<BootTime>,
}
