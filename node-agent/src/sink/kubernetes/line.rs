//! What is kept of a finding for the objects that tell of it: bounded, without the peers, so that the findings of a whole
//! node take little.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::{BootTime, Protocol};
use portolan_engine::model::listener::Exposure;
use portolan_engine::model::policy::PolicyVerdict;
use portolan_report::escape::bounded;

/// Bytes of a message; the field of an Event takes 1024.
const MAX_MESSAGE: usize = 1000;
/// Bytes of a name.
const MAX_NAME: usize = 253;

/// How a finding counts in a report; ordered from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyResult {
    Skip,
    Warn,
    Fail,
}

impl PolicyResult {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: String,
    pub code: FindingCode,
    pub state: FindingState,
    pub message: String,
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
    pub process: Option<String>,
    pub container: Option<String>,
    pub exposure: Exposure,
    pub policy: PolicyVerdict,
    pub origins: BTreeSet<&'static str>,
    pub peers: usize,
    /// There were more peers than are counted.
    pub more_peers: bool,
    pub connections: u64,
    pub first_seen: BootTime,
}

impl Line {
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let process = finding.listener.as_ref().and_then(|listener| listener.process.as_ref());
        Self {
            id: name(&finding.id),
            code: finding.code,
            state: finding.state,
            message: bounded(&finding.message, MAX_MESSAGE).0,
            protocol: finding.protocol,
            port: finding.port,
            process: process.map(|process| name(&process.name)),
            container: finding.container.as_ref().map(|container| name(&container.name)),
            exposure: finding.exposure,
            policy: finding.policy.verdict,
            origins: finding.traffic.peers.iter().map(|peer| peer.origin.as_str()).collect(),
            peers: finding.traffic.peers.len(),
            more_peers: finding.traffic.truncated,
            connections: finding.traffic.connections,
            first_seen: finding.first_seen,
        }
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    #[must_use]
    pub fn result(&self) -> PolicyResult {
        match (self.state, self.code, self.severity()) {
            // Suppressed: known and accepted. Opaque: nothing could be looked at.
            (FindingState::Suppressed, ..) | (_, FindingCode::OpaqueRuntime, _) => PolicyResult::Skip,
            (.., Severity::Critical | Severity::High) => PolicyResult::Fail,
            (.., Severity::Medium | Severity::Low | Severity::Info) => PolicyResult::Warn,
        }
    }

    /// Ordered from what would be missed least: whether it is open, and how bad it is.
    #[must_use]
    pub fn rank(&self) -> (bool, Severity) {
        (self.state == FindingState::Open, self.severity())
    }

    /// A number that differs where something but the amounts differs: what grows with every call is no news.
    #[must_use]
    pub fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.id, self.code, self.state, self.protocol, self.port).hash(&mut hasher);
        (&self.process, &self.container, self.exposure, self.policy, &self.origins).hash(&mut hasher);
        hasher.finish()
    }
}

fn name(text: &str) -> String {
    bounded(text, MAX_NAME).0
}
