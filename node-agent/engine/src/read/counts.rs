//! Counts for metrics and status: totals, and a census of the present state.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::model::finding_code::{FindingCode, Severity};
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::DeclarationStatus;
use crate::model::totals::Totals;
use crate::state::findings::Subject;

/// The present state in numbers, and the totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open listeners by protocol and declaration status.
    pub listeners: BTreeMap<(Protocol, DeclarationStatus), u64>,
    /// Open findings by code, severity and Kubernetes namespace (empty where there is no pod).
    pub findings: BTreeMap<(FindingCode, Severity, String), u64>,
    /// Suppressed findings, which `findings` does not contain, by the same keys.
    pub suppressed: BTreeMap<(FindingCode, Severity, String), u64>,
    /// Number of known netns that have not ended.
    pub netns: usize,
    /// Totals since the agent started.
    pub totals: Totals,
}

impl Engine {
    /// Returns the counts that cost nothing to compute. The maps are empty.
    #[must_use]
    pub fn running_totals(&self) -> Counts {
        Counts { netns: self.facts.netns.live(), totals: self.outbox.totals().clone(), ..Counts::default() }
    }

    /// Returns all counts; visits every port. The maps stay the same while the generation does.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.running_totals();
        for (id, port) in self.ports.iter().filter(|(_, port)| port.reported.is_some()) {
            *counts.listeners.entry((id.protocol, port.status)).or_default() += 1;
        }
        let mut findings: BTreeMap<(FindingCode, &str), u64> = BTreeMap::new();
        let mut suppressed = findings.clone();
        for (_, record) in self.findings.iter() {
            let pod = match record.subject {
                Subject::Port(id) => self.ports.get(id).and_then(|port| port.pod),
                subject => subject.pod(),
            };
            let namespace =
                pod.and_then(|pod| self.facts.pods.get(pod)).map(|record| record.pod.namespace.as_str());
            let key = (record.assessment.code, namespace.unwrap_or_default());
            let is_suppressed = record.assessment.suppressed_by.is_some();
            *if is_suppressed { &mut suppressed } else { &mut findings }.entry(key).or_default() += 1;
        }
        let owned = |((code, namespace), count): ((FindingCode, &str), u64)| {
            ((code, code.severity(), namespace.to_owned()), count)
        };
        counts.findings = findings.into_iter().map(owned).collect();
        counts.suppressed = suppressed.into_iter().map(owned).collect();
        counts
    }

    /// Returns name, used and maximum of every bounded table.
    #[must_use]
    pub fn limits(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("listeners", self.ports.len(), self.options.max_listeners),
            ("peers", self.ports.index().peers(), self.options.max_peers),
            ("connections", self.facts.connections.len(), self.options.max_connections),
            ("sockets", self.facts.sockets.len(), self.facts.sockets.max()),
        ]
    }

    /// Returns how many exception rules apply, and how many expired.
    #[must_use]
    pub fn exceptions(&self, now: BootTime) -> (usize, usize) {
        let applying = self.facts.exceptions.iter().filter(|rule| rule.applies(now)).count();
        (applying, self.facts.exceptions.len().saturating_sub(applying))
    }
}
