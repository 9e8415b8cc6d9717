//! What metrics and status show: totals that only grow, and a census of the present state.

use std::collections::BTreeMap;

use super::Engine;
use super::change::{DeclarationStatus, Origin};
use super::crowd::CrowdOf;
use super::finding_code::{FindingCode, Severity};
use super::finding_store::Subject;
use super::identity::Protocol;

/// Totals since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `None`: the kernel had forgotten the peer.
    pub connections: BTreeMap<(DeclarationStatus, Option<Origin>), u64>,
    /// Listeners that were reported without a pod.
    pub unattributed: u64,
    /// Listeners that ended within the grace time.
    pub short_lived: u64,
    /// Ports that were looked at, because something about them may have changed or was due.
    pub judged: u64,
    pub lost: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub(super) fn count_connections(&mut self, status: DeclarationStatus, all: u64, known: &[(Origin, u64)]) {
        let mut rest = all;
        for (origin, count) in known {
            let total = self.connections.entry((status, Some(*origin))).or_default();
            *total = total.saturating_add(*count);
            rest = rest.saturating_sub(*count);
        }
        if rest > 0 {
            let total = self.connections.entry((status, None)).or_default();
            *total = total.saturating_add(rest);
        }
    }

    pub(super) fn lose(&mut self, reason: &'static str, count: u64) {
        let total = self.lost.entry(reason).or_default();
        *total = total.saturating_add(count);
    }
}

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
        for (id, port) in self.ports.iter().filter(|(_, port)| port.printed.is_some()) {
            *counts.listeners.entry((id.protocol, port.status)).or_default() += 1;
        }
        let mut findings: BTreeMap<(FindingCode, &str), u64> = BTreeMap::new();
        let mut suppressed = findings.clone();
        for (_, record) in self.findings.iter() {
            let pod = match record.subject {
                Subject::Port(id) => self.ports.get(&id).and_then(|port| port.pod),
                Subject::Stale(pod, ..)
                | Subject::Dangling(pod, ..)
                | Subject::Storm(CrowdOf::Pod(pod))
                | Subject::Opaque(pod) => Some(pod),
                Subject::Storm(CrowdOf::Netns(_)) => None,
            };
            let namespace =
                pod.and_then(|pod| self.pods.get(pod)).map(|record| record.pod.namespace.as_str());
            let key = (record.stand.code, namespace.unwrap_or_default());
            let is_suppressed = record.stand.suppressed_by.is_some();
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
}
