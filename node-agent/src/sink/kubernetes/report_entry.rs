//! The part of a finding that reports and Events contain: bounded and without peers, so that the findings of a whole node
//! need little memory.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;

use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::{BootTime, Protocol};
use portolan_engine::model::listener::Exposure;
use portolan_engine::model::policy::PolicyVerdict;
use portolan_report::escape::bounded;

use crate::sink::convert::{message, workload_port};

/// Maximum size of a name in bytes.
const MAX_NAME: usize = 253;

/// Result of a finding in a report, ordered from mildest to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyResult {
    Skip,
    Warn,
    Fail,
}

impl PolicyResult {
    /// Returns the name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A finding in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportEntry {
    pub id: String,
    pub fingerprint: String,
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
    /// True if the finding has more peers than `peers` counts.
    pub more_peers: bool,
    pub connections: u64,
    pub first_seen: BootTime,
}

impl ReportEntry {
    /// Copies what reports and Events contain of a finding on the node.
    #[must_use]
    pub fn of(finding: &Finding, node: &str) -> Self {
        let process = finding.listener.as_ref().and_then(|listener| listener.process.as_ref());
        Self {
            id: name(&finding.id),
            fingerprint: workload_port::of_finding(finding, node),
            code: finding.code,
            state: finding.state,
            message: message(&finding.message),
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

    /// Returns the severity of the code.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// Returns the result that the finding counts as.
    #[must_use]
    pub fn result(&self) -> PolicyResult {
        match (self.state, self.code, self.severity()) {
            // Suppressed findings are accepted. For an opaque runtime nothing could be checked.
            (FindingState::Suppressed, ..) | (_, FindingCode::OpaqueRuntime, _) => PolicyResult::Skip,
            (.., Severity::Critical | Severity::High) => PolicyResult::Fail,
            (.., Severity::Medium | Severity::Low | Severity::Info) => PolicyResult::Warn,
        }
    }

    /// Returns the importance: open before suppressed, then by severity. The lowest is evicted first.
    #[must_use]
    pub fn rank(&self) -> (bool, Severity) {
        (self.state == FindingState::Open, self.severity())
    }

    /// Hashes everything but counts and times, which change with each connection.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.id, &self.fingerprint, self.code, self.state, self.protocol, self.port).hash(&mut hasher);
        (&self.process, &self.container, self.exposure, self.policy, &self.origins).hash(&mut hasher);
        hasher.finish()
    }
}

fn name(text: &str) -> String {
    bounded(text, MAX_NAME).0
}
