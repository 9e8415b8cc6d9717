//! Wire types of the chart: one row per workload's port instead of one object per pod's port, small enough that the first
//! answer holds all of them. An agent makes the rows of its node; `kubectl portolan ui` merges those of all nodes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amiss::Amiss;
use crate::wire::{AgentStatus, Workload};

/// Maximum number of rows of an answer. The least severe are left out first, and counted.
pub const MAX_ROWS: usize = 5_000;
/// Maximum number of callers, of finding ids and of nodes that a row lists. The others are counted.
pub const MAX_LISTED: usize = 8;
/// Number of minutes of [`ChartRow::minutes`].
pub const MINUTES: usize = 60;
/// Ports without a finding that an answer lists if there are no more of them, where the request does not say how many.
pub const DEFAULT_DECLARED: usize = 64;
/// Maximum of the parameter `declared`.
pub const MAX_DECLARED: usize = 1000;

/// Returns the number of the minute of a time (RFC 3339) since 1970; `None` for a text that is no time.
#[must_use]
pub fn minute_of(time: &str) -> Option<i64> {
    Some(time.parse::<Timestamp>().ok()?.as_second().div_euclid(60))
}

/// Parses the parameter `declared`.
///
/// # Errors
/// One line that says what was expected.
pub fn declared_limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| *limit <= MAX_DECLARED);
    limit.ok_or_else(|| format!("{value:?}: expected a number from 0 to {MAX_DECLARED}"))
}

/// Answer of `/v1/chart`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Name of the cluster; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Name of the node; absent if the rows are those of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Time of the answer (RFC 3339, UTC). The last of `minutes` is the minute of this time.
    pub time: String,
    /// Id of the last event of `/v1/watch` that the rows certainly contain.
    pub as_of: String,
    /// Start of the agent that knows least of the past (RFC 3339, UTC): before it, nothing is known.
    pub started_at: String,
    /// Rows: those with a finding, worst first, then the most called; then declared ports, if they are listed.
    pub rows: Vec<ChartRow>,
    /// Declared ports that `rows` does not list, counted by workload.
    pub declared: Vec<DeclaredPorts>,
    /// Counts of everything that matches the filter, also of what `rows` leaves out.
    pub totals: ChartTotals,
    /// Nodes whose rows are missing or incomplete, and why; always empty in the answer of an agent.
    pub missing: Vec<MissingNode>,
}

impl Chart {
    /// Returns the number of declared ports that are only counted.
    #[must_use]
    pub fn counted_ports(&self) -> u64 {
        self.declared.iter().fold(0, |sum, ports| sum.saturating_add(ports.ports))
    }
}

/// A port of a workload, on one node or on all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChartRow {
    /// Identifier of the workload's port, as in `Finding`. Unique among the rows.
    pub fingerprint: String,
    /// Kubernetes namespace; absent if no pod is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Workload; absent if there is none or it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Name of one of the pods, the first by name; absent if no pod is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Name of the container; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Image of the container; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Port number; absent if the finding is about a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`; absent if the finding is about a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Name of the process; absent if unknown, or if nobody listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Code of the worst finding; absent for a port without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Severity of the worst finding; absent for a port without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// `open`; `suppressed` if exceptions suppress all findings; `resolved` if all are resolved.
    pub state: String,
    /// Why: the exception that suppresses it, what explains it, or the policies that shut it off; one line, absent if there is
    /// nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `declared`, `explained`, `undeclared` or `unknown`.
    pub declaration: String,
    /// `loopback`, `pod` or `host`: the farthest of all pods.
    pub exposure: String,
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub policy: String,
    /// Number of pods that serve the port, or that the finding is about.
    pub pods: u64,
    /// Number of live pods of the workload; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_total: Option<u64>,
    /// Nodes of these pods, by name; at most [`MAX_LISTED`].
    pub nodes: Vec<String>,
    /// Number of nodes that are not listed; absent if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_nodes: u64,
    /// Connection attempts.
    pub attempts: u64,
    /// Accepted connections.
    pub connections: u64,
    /// Packets; what counts for UDP.
    pub packets: u64,
    /// Bytes, both ways.
    pub bytes: u64,
    /// Time at which an agent first saw the port (RFC 3339, UTC).
    pub first_seen: String,
    /// Time of the last traffic (RFC 3339, UTC); absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Time at which the code or the state last changed (RFC 3339, UTC); absent if no change is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// Code before the last change; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_code: Option<String>,
    /// Ids of the findings; at most [`MAX_LISTED`], the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// Number of findings that are not listed; absent if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_findings: u64,
    /// Callers, the busiest first; at most [`MAX_LISTED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<ChartCaller>,
    /// Number of known callers that are not listed; absent if 0. A sum over nodes: a caller that several of them leave out counts
    /// several times.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_callers: u64,
    /// True if there were callers that are not known any more, or are those of a port storm, which lists none; absent if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Connections (UDP: packets) per minute, ending with the minute of the answer; at most [`MINUTES`]. Zeros at the beginning
    /// are left out, and so is a port that no minute counts. They are those of the whole workload: an answer that is restricted to
    /// some of its pods, labels or origins has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minutes: Vec<u32>,
    /// The port as it is served now, without a finding; only in a row of resolved findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Box<Self>>,
}

impl ChartRow {
    /// Returns what counts as calls of the port: connections, or the packets of UDP.
    #[must_use]
    pub fn calls(&self) -> u64 {
        if self.protocol.as_deref() == Some("UDP") { self.packets } else { self.connections }
    }

    /// Returns the row, and the port that is served beside it.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.served.as_deref())
    }

    /// Changes the row, and the port that is served beside it.
    pub fn for_each_part(&mut self, mut change: impl FnMut(&mut Self)) {
        change(self);
        if let Some(served) = self.served.as_deref_mut() {
            change(served);
        }
    }
}

/// Who calls a row's port: a workload, or an address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChartCaller {
    /// `same-pod`, `pod`, `node`, `service` or `external`.
    pub origin: String,
    /// Kubernetes namespace of the calling pod; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Workload of the calling pod; absent if it has none or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Name of a calling pod; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Address that the pod saw, or the client behind it; one of them, if a workload has several.
    pub address: String,
    /// Name of the node whose address this is; absent if it is none or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Kind of the dialled address: `clusterIP`, `nodePort`, `loadBalancer` and so on, as in `Via`; absent if it is the pod's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Accepted connections.
    pub connections: u64,
    /// Packets; what counts for UDP.
    pub packets: u64,
}

/// Declared ports of a workload without a finding, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredPorts {
    /// Kubernetes namespace; absent if no pod is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Workload; absent if there is none or it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Name of one of the pods; absent if no pod is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Number of ports.
    pub ports: u64,
    /// Accepted connections to all of them.
    pub connections: u64,
}

/// Counts of what matches the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChartTotals {
    /// Rows with an open finding, by severity.
    pub open: std::collections::BTreeMap<String, u64>,
    /// Rows whose findings are all suppressed.
    pub suppressed: u64,
    /// Declared ports without a finding, by workload.
    pub declared: u64,
    /// Ports without a finding that no manifest declares: of a port storm, or not judged yet. They are no rows. Absent if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unjudged: u64,
    /// Findings of all rows.
    pub findings: u64,
    /// Listening ports of all pods.
    pub listeners: u64,
    /// Pods that were looked at.
    pub pods: u64,
    /// Rows that the answer leaves out, because there are more than [`MAX_ROWS`].
    pub unlisted: u64,
}

/// A node whose answer is missing or incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingNode {
    /// Name of the node.
    pub node: String,
    /// Reason in one line.
    pub reason: String,
    /// Since when (RFC 3339, UTC).
    pub since: String,
    /// Number of pods of the node that are missing; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
}

/// Event `Traffic` of `/v1/watch`: what the rows whose counts changed count now. It has no id, and is sent at most every two
/// seconds; the first ones after a subscription hold every such row with traffic. It has rows with findings of one port: neither
/// declared ports nor port storms. An agent puts at most 500 rows into one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficCounts {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Time of the counts (RFC 3339, UTC).
    pub time: String,
    /// The rows.
    pub items: Vec<RowCounts>,
}

/// Counts of a row. They replace those of the row: they are no differences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowCounts {
    /// Fingerprint of the row.
    pub fingerprint: String,
    /// Connection attempts.
    pub attempts: u64,
    /// Accepted connections.
    pub connections: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Time of the last traffic (RFC 3339, UTC).
    pub last_seen: String,
}

/// Item of `/v1/agents`: an agent, or a node that should have one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Name of the node.
    pub node: String,
    /// `up`, `starting`, `down`, or `asking` while it has not answered yet.
    pub state: String,
    /// Reason for the state in one line; absent if there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state (RFC 3339, UTC).
    pub since: String,
    /// Version; absent if it never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Release of the kernel; absent if it never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Start of the agent (RFC 3339, UTC); absent if it never answered, or does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Live pods of the node; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Open listeners.
    pub listeners: u64,
    /// Hooks, sources and sinks that are not as they should be: `NAME: STATE, REASON`.
    pub amiss: Vec<String>,
    /// Losses since the agent started, by reason; those above 0.
    pub lost: std::collections::BTreeMap<String, u64>,
    /// What an older agent cannot tell, in words; absent if it can tell everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

impl AgentSummary {
    /// Returns what the status of an agent says. State, reason, `since` and pods are not in it.
    #[must_use]
    pub fn of_status(status: &AgentStatus) -> Self {
        Self {
            node: status.envelope.node.clone(),
            version: Some(status.version.clone()),
            kernel: Some(status.kernel.clone()),
            started_at: status.started_at.clone(),
            listeners: status.listeners as u64,
            amiss: Amiss::of(status).in_words(),
            lost: status.lost.clone().into_iter().filter(|(_, count)| *count > 0).collect(),
            ..Self::default()
        }
    }
}

/// Answer of `/v1/findings/{id}/remedies`: drafts of what can be done about a finding, the best first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remedies {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Id of the finding.
    pub finding: String,
    /// The drafts.
    pub items: Vec<Remedy>,
}

/// A draft of what can be done about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// `shut-out` (a NetworkPolicy), `declare` (a patch of the manifest), `accept` (an exception rule).
    pub kind: String,
    /// When to choose it, in one sentence.
    pub summary: String,
    /// What to consider before applying it, a sentence each.
    pub warnings: Vec<String>,
    /// The draft, as YAML; empty if none can be made, for the reason in `warnings`.
    pub yaml: String,
    /// Command that takes the draft, such as `kubectl apply -f FILE`; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Returns true for 0. serde calls it with a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
