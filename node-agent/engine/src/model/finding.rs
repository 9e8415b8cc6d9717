//! A finding as reports show it.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::{Declaration, Exposure, Listener};
use crate::model::pod::{Container, PodRef};
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;

/// State of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingState {
    /// Holds, and no exception covers it.
    Open,
    /// Holds, and an exception covers it.
    Suppressed,
    /// Holds no longer.
    Resolved,
}

impl FindingState {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Suppressed => "suppressed",
            Self::Resolved => "resolved",
        }
    }
}

/// The exception that suppresses a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Name of the rule.
    pub rule: String,
    /// Reason, as the author of the rule gave it.
    pub reason: String,
}

/// A port or pod that differs from its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Id of the listener, or an id derived the same way where there is no listener.
    pub id: String,
    /// State of the finding.
    pub state: FindingState,
    /// What the finding says.
    pub code: FindingCode,
    /// One sentence: what is wrong, and what to do next.
    pub message: String,
    /// When the condition began.
    pub first_seen: BootTime,
    /// When the finding was last reported, or its port last had traffic.
    pub last_seen: BootTime,
    /// The pod, where known.
    pub pod: Option<PodRef>,
    /// The container, where it is certain.
    pub container: Option<Container>,
    /// The listener; `None` where the finding is about a pod, or about a port that nothing serves.
    pub listener: Option<Arc<Listener>>,
    /// Protocol of the port; `None` where the finding is about a pod or a storm.
    pub protocol: Option<Protocol>,
    /// Port number; `None` where the finding is about a pod or a storm.
    pub port: Option<NonZeroU16>,
    /// What the manifests say about the port.
    pub declaration: Declaration,
    /// From where the port can be reached.
    pub exposure: Exposure,
    /// What NetworkPolicies say about the port.
    pub policy: Policy,
    /// Traffic and peers; for a storm the sums over its ports, without peers.
    pub traffic: Traffic,
    /// The exception that suppresses the finding, or suppressed it until it was resolved.
    pub suppressed_by: Option<Arc<Suppression>>,
    /// When the code or the state last changed; `None` if neither did since the finding was opened, as far as this run knows.
    pub changed_at: Option<BootTime>,
    /// Code before its latest change.
    pub previous_code: Option<FindingCode>,
    /// When the socket opened. Set only in the first report of a finding, for the latency metric; not reported.
    pub opened_at: Option<BootTime>,
}
