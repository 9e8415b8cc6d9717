//! Counts for metrics and status: totals, and a census of the present state.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::model::finding_code::{FindingCode, Severity};
use crate::model::identity::{BootTime, Protocol};
use crate::model::listener::DeclarationStatus;
use crate::state::findings::Subject;
use crate::state::storms::StormScope;
use crate::state::totals::Totals;

/// The present state in numbers, and the totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub listeners: BTreeMap<(Protocol, DeclarationStatus), u64>,
    /// By code, severity and Kubernetes namespace (empty where there is no pod).
    pub findings: BTreeMap<(FindingCode, Severity, String), u64>,
    /// The same of those that exceptions suppress, which are not among `findings`.
    pub suppressed: BTreeMap<(FindingCode, Severity, String), u64>,
    pub netns: usize,
    pub totals: Totals,
}

impl Engine {
    /// Of the counts those that cost nothing; the lists are empty.
    #[must_use]
    pub fn running_totals(&self) -> Counts {
        Counts { netns: self.netns.live(), totals: self.totals.clone(), ..Counts::default() }
    }

    /// Counts for metrics; looks at every port. The lists are the same while the generation is.
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
                Subject::Port(id) => self.ports.get(&id).and_then(|port| port.pod),
                Subject::Stale(pod, ..)
                | Subject::Dangling(pod, ..)
                | Subject::Storm(StormScope::Pod(pod))
                | Subject::Opaque(pod) => Some(pod),
                Subject::Storm(StormScope::Netns(_)) => None,
            };
            let namespace =
                pod.and_then(|pod| self.pods.get(pod)).map(|record| record.pod.namespace.as_str());
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

    /// Name, used and most of every bounded table.
    #[must_use]
    pub fn limits(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("listeners", self.ports.len(), self.options.max_listeners),
            ("peers", self.peers, self.options.max_peers),
            ("connections", self.connections.len(), self.options.max_connections),
            ("sockets", self.sockets.len(), self.sockets.max()),
        ]
    }

    /// How many rules apply, and how many ran out.
    #[must_use]
    pub fn exceptions(&self, now: BootTime) -> (usize, usize) {
        let applying = self.rules.iter().filter(|rule| rule.applies(now)).count();
        (applying, self.rules.len().saturating_sub(applying))
    }
}
