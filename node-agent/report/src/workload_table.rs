//! Table of findings with one row per workload's port: the pods of a workload fold into one row, with the worst code and the sums.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::finding_code::{FindingCode, Severity};

use crate::cells::{self, NONE};
use crate::fingerprint;
use crate::table::{self, Colour, Width};
use crate::wire::{Finding, Peer, Pod, Traffic};

/// Number of live pods of each owner: `NAMESPACE/KIND/NAME` of what the findings of a fingerprint have in common.
pub type PodTotals = BTreeMap<String, usize>;

/// Findings of one fingerprint and state.
#[derive(Debug)]
pub struct WorkloadPort<'a> {
    /// The most severe of them.
    pub worst: &'a Finding,
    /// All of them; at least one.
    pub findings: Vec<&'a Finding>,
}

/// Groups findings by fingerprint and state, the most severe first. A finding without a fingerprint is a group of its own.
#[must_use]
pub fn by_workload_port(findings: &[Finding]) -> Vec<WorkloadPort<'_>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let key = if finding.fingerprint.is_empty() { &finding.id } else { &finding.fingerprint };
        groups.entry((key, &finding.state)).or_default().push(finding);
    }
    let mut ports: Vec<WorkloadPort<'_>> = groups
        .into_values()
        .filter_map(|findings| Some(WorkloadPort { worst: worst(&findings)?, findings }))
        .collect();
    ports.sort_by_cached_key(|port| {
        let worst = port.worst;
        (Reverse(rank(worst)), place(worst), worst.port, worst.protocol.clone(), worst.id.clone())
    });
    ports
}

fn worst<'a>(findings: &[&'a Finding]) -> Option<&'a Finding> {
    findings.iter().copied().max_by_key(|finding| rank(finding))
}

/// Returns the severity of a finding, and among equal ones the order of its code.
fn rank(finding: &Finding) -> (Option<Severity>, Reverse<Option<usize>>) {
    let code = FindingCode::ALL.iter().position(|code| code.as_str() == finding.code);
    (Severity::parse(&finding.severity), Reverse(code))
}

/// Formats the workload of a pod as `NAMESPACE/KIND/NAME`, which `portolan policy` and `portolan declare` take; a pod without one
/// as `NAMESPACE/NAME`.
#[must_use]
pub fn workload(pod: &Pod) -> String {
    // The node matters only to the name of a static pod, which is not shown.
    let (kind, name) = fingerprint::owner(pod, "");
    match kind {
        "Pod" => format!("{}/{}", pod.namespace, pod.name),
        kind => format!("{}/{}/{name}", pod.namespace, kind.to_lowercase()),
    }
}

/// Counts the pods of each owner. Each pod comes with the name of its node.
#[must_use]
pub fn pod_totals<'a>(pods: impl IntoIterator<Item = (&'a Pod, &'a str)>) -> PodTotals {
    let mut totals = PodTotals::new();
    for (pod, node) in pods {
        *totals.entry(total_key(pod, node)).or_default() += 1;
    }
    totals
}

/// Returns the key of a pod's total. Static pods of one manifest, which have the names of their nodes, share it.
pub(crate) fn total_key(pod: &Pod, node: &str) -> String {
    let (kind, name) = fingerprint::owner(pod, node);
    format!("{}/{}/{name}", pod.namespace, kind.to_lowercase())
}

impl WorkloadPort<'_> {
    /// Returns the distinct pods, as `NAMESPACE/NAME`.
    fn pods(&self) -> BTreeSet<String> {
        self.findings
            .iter()
            .filter_map(|finding| finding.pod.as_ref())
            .map(|pod| cells::pod(Some(pod)))
            .collect()
    }

    /// Formats the number of pods that have the finding, of all live pods of the workload if their number is known. More than
    /// that are not all live, as in a rollout, and pods whose finding is resolved may be gone.
    fn pod_count(&self, totals: &PodTotals) -> String {
        let count = self.pods().len();
        let key = self.worst.pod.as_ref().map(|pod| total_key(pod, &self.worst.envelope.node));
        match key.and_then(|key| totals.get(&key)) {
            _ if count == 0 => NONE.to_owned(),
            Some(total) if count <= *total && self.worst.state != "resolved" => format!("{count} of {total}"),
            _ => count.to_string(),
        }
    }

    /// Returns the sums of the traffic, and the callers, the busiest first.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        let mut peers: BTreeMap<(String, String), Peer> = BTreeMap::new();
        for traffic in self.findings.iter().map(|finding| &finding.traffic) {
            sum.attempts = sum.attempts.saturating_add(traffic.attempts);
            sum.connections = sum.connections.saturating_add(traffic.connections);
            sum.packets = sum.packets.saturating_add(traffic.packets);
            sum.bytes = sum.bytes.saturating_add(traffic.bytes);
            sum.truncated |= traffic.truncated;
            for peer in &traffic.peers {
                let name = peer.reference.clone().unwrap_or_else(|| peer.address.clone());
                match peers.entry((name, peer.origin.clone())) {
                    std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(peer.clone())),
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        let known = entry.get_mut();
                        known.connections = known.connections.saturating_add(peer.connections);
                        known.packets = known.packets.saturating_add(peer.packets);
                        known.bytes = known.bytes.saturating_add(peer.bytes);
                    }
                }
            }
        }
        sum.peers = peers.into_values().collect();
        // Of equal callers, those with a name first.
        sum.peers.sort_by_key(|peer| {
            Reverse((peer.bytes, peer.connections, peer.packets, peer.reference.is_some()))
        });
        sum
    }

    /// Formats who serves the port: the process with its id if there is one finding, else the names of the programs.
    fn server(&self) -> String {
        let listeners: Vec<_> =
            self.findings.iter().filter_map(|finding| finding.listener.as_deref()).collect();
        if let [only] = listeners.as_slice() {
            return cells::server(only);
        }
        let processes = listeners.iter().filter_map(|listener| listener.process.as_ref());
        let names: BTreeSet<&str> = processes.map(|process| process.name.as_str()).collect();
        match (names.first(), names.len()) {
            (None, _) => {
                listeners.first().map_or_else(|| NONE.to_owned(), |listener| cells::server(listener))
            }
            (Some(only), 1) => (*only).to_owned(),
            (Some(first), count) => format!("{first} +{}", count - 1),
        }
    }

    fn traffic_cell(&self, sum: &Traffic) -> String {
        match (self.findings.as_slice(), self.worst.listener.as_deref()) {
            ([_], Some(listener)) => cells::traffic_of(listener, sum),
            _ => cells::traffic(sum),
        }
    }

    /// Formats the name of the node, or the number of nodes.
    fn nodes(&self) -> String {
        let nodes: BTreeSet<&str> =
            self.findings.iter().map(|finding| finding.envelope.node.as_str()).collect();
        match nodes.first() {
            Some(only) if nodes.len() == 1 => (*only).to_owned(),
            _ => format!("{} nodes", nodes.len()),
        }
    }

    /// Formats the age of the oldest of the findings.
    fn age(&self) -> String {
        let oldest = self.findings.iter().min_by_key(|finding| &finding.first_seen);
        oldest.map_or_else(|| NONE.to_owned(), |it| cells::age(&it.first_seen, &it.envelope.time))
    }

    fn row(&self, totals: &PodTotals, width: Width) -> Vec<String> {
        let worst = self.worst;
        let sum = self.traffic();
        let port = worst.port.zip(worst.protocol.as_deref());
        let mut row = vec![
            worst.severity.clone(),
            worst.code.clone(),
            place(worst),
            self.pod_count(totals),
            port.map_or_else(|| NONE.to_owned(), |(port, protocol)| format!("{port}/{protocol}")),
            self.server(),
            self.traffic_cell(&sum),
            cells::peers(&sum),
            self.age(),
        ];
        row.extend(width.cells(&self.nodes(), || {
            vec![
                worst.state.clone(),
                worst.container.as_ref().map_or_else(|| NONE.to_owned(), |container| container.name.clone()),
                worst.fingerprint.clone(),
                worst.message.clone(),
            ]
        }));
        row
    }
}

/// Formats where the finding is: the workload, the pod, or the network namespace.
fn place(finding: &Finding) -> String {
    match (&finding.pod, &finding.listener) {
        (Some(pod), _) => workload(pod),
        (None, Some(listener)) => cells::location(listener),
        (None, None) => NONE.to_owned(),
    }
}

/// Formats findings as a table with one row per workload's port, the most severe first. Returns a sentence instead if there are
/// no findings.
#[must_use]
pub fn findings(findings: &[Finding], totals: &PodTotals, width: Width, colour: Colour) -> String {
    if findings.is_empty() {
        return table::no_open_findings(0) + "\n";
    }
    let ports = by_workload_port(findings);
    let mut header =
        vec!["SEVERITY", "CODE", "WORKLOAD", "PODS", "PORT", "PROCESS", "TRAFFIC", "PEERS", "AGE"];
    header.extend(width.columns(&["STATE", "CONTAINER", "FINGERPRINT", "MESSAGE"]));
    let with_exceptions = ports.iter().any(|port| port.worst.suppressed_by.is_some());
    if with_exceptions {
        header.extend(["SUPPRESSED-BY", "REASON"]);
    }
    let rows = ports.iter().map(|port| {
        let mut row = port.row(totals, width);
        if with_exceptions {
            row.extend(table::suppression_cells(port.worst));
        }
        row
    });
    table::coloured(table::lay_out(&header, rows), colour)
}

#[cfg(test)]
#[path = "workload_table_tests.rs"]
mod tests;
