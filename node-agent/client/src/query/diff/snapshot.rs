//! The findings of one time: of a file, or of agents that were asked.
//!
//! A file is a list as `findings -o json` and `scan -o json` write it, or the agent's stream with one object per line.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::finding_code::Severity;
use portolan_report::fingerprint::owner;
use portolan_report::wire::{Envelope, Finding};
use serde::Deserialize;
use serde_json::Value;

use super::identity;

/// Open and suppressed findings, several pods of a fingerprint folded, and the nodes about which nothing is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Findings by cluster and fingerprint.
    pub(super) ports: BTreeMap<(String, String), Port>,
    /// Nodes whose answer is missing or incomplete.
    pub(crate) missing: BTreeSet<String>,
    /// Names of the clusters of the findings; an empty one for findings without a name.
    pub(super) clusters: BTreeSet<String>,
}

/// All findings of one fingerprint.
#[derive(Clone, Debug, Default)]
pub(super) struct Port {
    /// The worst open finding; `None` if all are suppressed.
    pub(super) worst: Option<Worst>,
    /// Nodes with an open finding of the worst severity.
    pub(super) worst_nodes: BTreeSet<String>,
    /// Nodes with an open finding.
    pub(super) nodes: BTreeSet<String>,
    /// Number of open findings.
    pub(super) pods: usize,
    /// Rule that suppresses one of them.
    pub(super) suppressed_by: Option<String>,
    /// Where the port is.
    pub(super) place: Location,
}

/// Severity and code of a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worst {
    pub(super) severity: Severity,
    pub(super) code: String,
}

/// Where a port is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) namespace: Option<String>,
    /// `KIND/NAME`, or the network namespace.
    pub(super) workload: String,
    pub(super) container: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) protocol: Option<String>,
}

/// Reason why a text is not a snapshot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// The text has no finding and is no list of findings.
    #[error("it has {0}, not findings")]
    OtherKind(String),
    /// A finding lacks a field.
    #[error("a finding is not as expected: {0}")]
    NotAFinding(String),
}

impl Snapshot {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// If the text has no findings, or a finding lacks a field. An empty list is no error.
    pub(crate) fn parse(text: &str, namespace: Option<&str>) -> Result<Self, SnapshotError> {
        let mut items = Vec::new();
        let mut missing = BTreeSet::new();
        let mut is_empty = true;
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let value = value.map_err(|error| SnapshotError::NotJson(error.to_string()))?;
            is_empty = false;
            let list = match value {
                Value::Array(list) => list,
                Value::Object(mut object) if object.get("items").is_some_and(Value::is_array) => {
                    missing.extend(missing_nodes(object.get("missing")));
                    match object.remove("items") {
                        Some(Value::Array(list)) => list,
                        _ => Vec::new(),
                    }
                }
                // A line of the agent's stream. Its other kinds say nothing about findings.
                Value::Object(line) if line.get("kind").is_some_and(Value::is_string) => {
                    if line.get("kind").and_then(Value::as_str) == Some("Finding") {
                        items.push(Value::Object(line));
                    }
                    continue;
                }
                _ => return Err(SnapshotError::OtherKind("other JSON".to_owned())),
            };
            items.extend(list);
        }
        if is_empty { Err(SnapshotError::Empty) } else { Self::of(&items, missing, namespace) }
    }

    /// Takes the findings of objects. A later object with the same id replaces an earlier one.
    ///
    /// # Errors
    /// If an object is not a finding.
    pub(crate) fn of(
        items: &[Value],
        missing: BTreeSet<String>,
        namespace: Option<&str>,
    ) -> Result<Self, SnapshotError> {
        let mut latest: BTreeMap<(Option<String>, String, String), Finding> = BTreeMap::new();
        for item in items {
            match item.get("kind").and_then(Value::as_str) {
                // The scan of an older version writes no kind.
                Some("Finding") | None => {}
                Some(kind) => return Err(SnapshotError::OtherKind(format!("objects of the kind {kind:?}"))),
            }
            let finding =
                Finding::deserialize(item).map_err(|error| SnapshotError::NotAFinding(error.to_string()))?;
            let is_wanted = namespace
                .is_none_or(|wanted| finding.pod.as_ref().is_some_and(|pod| pod.namespace == wanted));
            if is_wanted {
                let Envelope { cluster, node, .. } = finding.envelope.clone();
                latest.insert((cluster, node, finding.id.clone()), finding);
            }
        }
        let mut snapshot = Self { missing, ..Self::default() };
        for finding in latest.values() {
            snapshot.add(finding);
        }
        Ok(snapshot)
    }

    /// Returns the nodes of all open findings, with repeats.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &String> {
        self.ports.values().flat_map(|port| &port.nodes)
    }

    /// Returns the snapshot of one cluster without the cluster's name in its keys.
    pub(super) fn without_cluster(&self) -> Self {
        let ports = self.ports.iter();
        let ports = ports.map(|((_, print), port)| ((String::new(), print.clone()), port.clone())).collect();
        Self { ports, ..self.clone() }
    }

    fn add(&mut self, finding: &Finding) {
        if finding.state == "resolved" {
            return;
        }
        let cluster = finding.envelope.cluster.clone().unwrap_or_default();
        self.clusters.insert(cluster.clone());
        let port = self.ports.entry((cluster, identity::of(finding))).or_default();
        let location = location(finding);
        if port.place.workload.is_empty() || location < port.place {
            port.place = location;
        }
        if finding.state == "suppressed" {
            port.suppressed_by = finding.suppressed_by.as_ref().map(|by| by.rule.clone());
            return;
        }
        let node = &finding.envelope.node;
        port.pods += 1;
        port.nodes.insert(node.clone());
        // A severity that this client does not know may be of any weight; it counts as the heaviest, not as nothing.
        let severity = Severity::parse(&finding.severity).unwrap_or(Severity::Critical);
        let before = port.worst.as_ref().map(|worst| worst.severity);
        if before.is_none_or(|before| severity > before) {
            port.worst_nodes.clear();
        }
        if before.is_none_or(|before| severity >= before) {
            port.worst_nodes.insert(node.clone());
        }
        port.worst = port.worst.take().max(Some(Worst { severity, code: finding.code.clone() }));
    }
}

/// Returns the names of the nodes in the field `missing` of a list.
fn missing_nodes(missing: Option<&Value>) -> impl Iterator<Item = String> {
    let nodes = missing.and_then(Value::as_array).into_iter().flatten();
    nodes.filter_map(|missing| missing.get("node").and_then(Value::as_str).map(str::to_owned))
}

fn location(finding: &Finding) -> Location {
    let node = &finding.envelope.node;
    let workload = match (&finding.pod, finding.listener.as_deref()) {
        (Some(pod), _) => {
            let (kind, name) = owner(pod, node);
            format!("{kind}/{name}")
        }
        (None, Some(listener)) => format!("{} on {node}", portolan_report::cells::location(listener)),
        (None, None) => format!("node {node}"),
    };
    Location {
        namespace: finding.pod.as_ref().map(|pod| pod.namespace.clone()),
        workload,
        container: finding.container.as_ref().map(|container| container.name.clone()),
        port: finding.port,
        protocol: finding.protocol.clone(),
    }
}
