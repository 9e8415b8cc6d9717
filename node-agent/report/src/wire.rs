//! Wire types of `portolan/v1`: the objects on standard output and in HTTP answers, field by field.
//!
//! The agent converts engine types into these types. Only clients parse them.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of the field `schema` in every object.
pub const SCHEMA: &str = "portolan/v1";

/// One object of the stream. The field `kind` holds the variant's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Report {
    /// A finding was opened, changed, suppressed or resolved.
    Finding(Finding),
    /// A port was opened or closed.
    Listener(Listener),
    /// A connection to a port was accepted or closed.
    Connection(Connection),
    /// The agent lost observations.
    Loss(Loss),
    /// The agent's own state.
    AgentStatus(AgentStatus),
}

/// Fields that every object has beside `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Name of the cluster, as `--cluster-name` gave it; absent if it was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Name of the node.
    pub node: String,
    /// Time at which the object was written (RFC 3339, UTC).
    pub time: String,
}

/// A difference between what runs and what the manifests say, about one port or one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Stable identifier, derived from pod UID (or network namespace), protocol and port. A later object with the same id
    /// replaces this one.
    pub id: String,
    /// Identifier of the workload's port: the same in every replica, on every node, and after a rollout or a restart. Derived
    /// from namespace, workload, container, protocol and port. Empty in answers of agents that do not know it.
    #[serde(default)]
    pub fingerprint: String,
    /// `open`, `suppressed` or `resolved`.
    pub state: String,
    /// Code of the rule that found it, such as `undeclared-active`.
    pub code: String,
    /// `critical`, `high`, `medium`, `low` or `info`.
    pub severity: String,
    /// Explanation in one sentence.
    pub message: String,
    /// Time at which the agent first saw the port (RFC 3339, UTC).
    pub first_seen: String,
    /// Time of the latest report or traffic (RFC 3339, UTC).
    pub last_seen: String,
    /// Pod that the finding is about; `null` if no pod is known.
    pub pod: Option<Pod>,
    /// Container whose process serves the port; `null` if unknown.
    pub container: Option<Container>,
    /// Protocol of the port, also if no process serves the port; `null` if the finding is about a pod.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Number of the port, also if no process serves the port; `null` if the finding is about a pod, or about a port name.
    #[serde(default)]
    pub port: Option<u16>,
    /// Listener on the port; `null` if no process serves the port, and for `dangling-service-port`.
    pub listener: Option<Box<Listener>>,
    /// Whether the port is declared, and by what.
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`.
    pub exposure: String,
    /// Effect of NetworkPolicies on the port.
    pub policy: Policy,
    /// Traffic to the port.
    pub traffic: Traffic,
    /// Exception that suppresses the finding, or did so until it was resolved; `null` if there is none.
    pub suppressed_by: Option<Suppression>,
    /// Time at which the code or the state last changed (RFC 3339, UTC); absent if neither did since the finding was opened, or
    /// since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// Code before the last change of the code; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_code: Option<String>,
    /// Fingerprint in the object before this one, if it was another: the workload or the only container became known. Only in
    /// reports of changes; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_fingerprint: Option<String>,
}

/// A port on which one or more sockets listen in a network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Stable identifier, derived from pod UID (or network namespace), protocol and port.
    pub id: String,
    /// Identifier of the workload's port, as in `Finding`.
    #[serde(default)]
    pub fingerprint: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number.
    pub port: u16,
    /// Local addresses of the sockets, sorted; at most 16. `0.0.0.0` and `::` are wildcards.
    pub addresses: Vec<String>,
    /// True if every IPv6 socket on the port refuses IPv4 (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// Number of sockets that serve the port (SO_REUSEPORT, one per address family, …).
    pub sockets: usize,
    /// Network namespace of the sockets.
    pub netns: Netns,
    /// `process`; `kernel` for a socket of the kernel itself (vxlan, WireGuard, NFS); `forwarded` if rules of the network
    /// namespace lead the port to another port, namespace or virtual machine.
    #[serde(default = "by_process")]
    pub served_by: String,
    /// Process that serves the port; `null` if unknown, or if `servedBy` is not `process`. Of several programs, one whose
    /// socket can be reached from the farthest.
    pub process: Option<Process>,
    /// Processes of other programs that serve the same port; at most 16, absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_processes: Vec<Process>,
    /// Address and port to which the port is forwarded; absent if a socket serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_to: Option<Endpoint>,
    /// True for a UDP port that nobody has called yet and that may be a client's; absent if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// Time at which the port was opened (RFC 3339, UTC); `null` if the port is older than the agent.
    pub opened_at: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Pod of the network namespace; `null` if no pod is known.
    pub pod: Option<Pod>,
    /// Container of the process; `null` if unknown.
    pub container: Option<Container>,
    /// Whether the port is declared, and by what.
    pub declaration: Declaration,
    /// Traffic to the port.
    pub traffic: Traffic,
}

/// Returns the value of `servedBy` for an agent that does not write it.
fn by_process() -> String {
    "process".to_owned()
}

/// A connection that a socket on a port accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Id of the listener.
    pub id: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address and port of the accepting socket.
    pub local: Endpoint,
    /// Address and port of the caller.
    pub remote: RemoteEndpoint,
    /// Time at which the connection was accepted (RFC 3339, UTC).
    pub opened_at: String,
    /// Time at which the connection was closed (RFC 3339, UTC); `null` while it is open.
    pub closed_at: Option<String>,
    /// Bytes received from the caller; while the connection is open, as last read or 0.
    pub bytes_in: u64,
    /// Bytes sent to the caller; while the connection is open, as last read or 0.
    pub bytes_out: u64,
    /// Pod of the accepting socket; `null` if no pod is known.
    pub pod: Option<Pod>,
}

/// Observations that the agent lost, counted by reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Name of the loss, as in `portolan_lost_total{reason}`.
    pub reason: String,
    /// Number of losses that this object reports.
    pub count: u64,
    /// True once the scan that follows the loss is complete.
    pub recovered: bool,
}

/// State of the agent: kernel, hooks, sources, losses and limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Version of the agent.
    pub version: String,
    /// Start of the agent (RFC 3339, UTC): before it, the agent knows nothing. Absent in answers of agents that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Release of the node's kernel.
    pub kernel: String,
    /// Hooks in the kernel.
    pub hooks: Vec<HookStatus>,
    /// Sources of observations and metadata, and sinks that can fail.
    pub sources: Vec<SourceStatus>,
    /// Number of known network namespaces.
    pub namespaces: usize,
    /// Number of open listeners.
    pub listeners: usize,
    /// Number of losses since the agent started, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Fill level of each bounded table, by the table's name.
    pub limits: BTreeMap<String, Limit>,
}

/// State of one hook in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookStatus {
    /// Name of the hook.
    pub name: String,
    /// `attached`, `attaching`, `partial`, `refused`, `off`, or `waiting` for the first network namespace.
    pub state: String,
    /// Reason for the state; `null` if there is nothing to say.
    pub reason: Option<String>,
}

/// State of one source or sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// Name of the source, such as `kubernetes` or `conntrack`.
    pub name: String,
    /// `up` or `down`.
    pub state: String,
    /// Time of the last change of the state (RFC 3339, UTC).
    pub since: String,
    /// Reason for the state; `null` if there is nothing to say.
    pub reason: Option<String>,
}

/// Fill level of a bounded table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// Current number of entries.
    pub used: u64,
    /// Maximum of `used`.
    pub max: u64,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Workload that owns the pod; `null` if there is none or it is unknown.
    pub workload: Option<Workload>,
    /// True if the pod uses the node's network namespace (`hostNetwork`).
    pub host_network: bool,
    /// Labels of the pod, for filters. Never serialized.
    #[serde(skip)]
    pub labels: Option<Arc<BTreeMap<String, String>>>,
}

/// Workload that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
}

/// Container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Name in the pod's spec.
    pub name: String,
    /// Id that the container runtime gave.
    pub id: String,
    /// Image reference.
    pub image: String,
    /// Digest of the image's manifest that the runtime pulled, such as `sha256:…`; absent if unknown. The id of an image, which is
    /// the digest of its configuration, is never given here.
    #[serde(default, rename = "imageDigest", skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
}

/// Network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Netns {
    /// Inode number in the kernel's nsfs.
    pub inode: u64,
    /// Name of the mount in the netns directory; `null` if there is none.
    pub name: Option<String>,
}

/// Process that serves a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the node's PID namespace.
    pub pid: u32,
    /// Name of the process (`comm`).
    pub name: String,
    /// Path of the executable; `null` if unknown.
    pub executable: Option<String>,
}

/// Whether a port is declared, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// `declared`, `explained`, `undeclared` or `unknown`.
    pub status: String,
    /// Containers that declare the port, as `container/NAME`.
    pub declared_by: Vec<String>,
    /// Objects that make an undeclared port expected.
    pub explained_by: Vec<Explanation>,
}

/// One object that makes an undeclared port expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Type of the object, such as `service`, `probe` or `network-policy`.
    pub source: String,
    /// Name of the object.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whose calls it explains: `node` (the node's own, such as kubelet's), `listed` (the node's, and of those whom a policy
    /// lists), `pods` (the node's and every pod's) or `everybody`.
    #[serde(default)]
    pub audience: String,
}

/// Effect of the NetworkPolicies that select a pod on one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub verdict: String,
    /// `NAMESPACE/NAME` of the policies that the verdict is based on; at most 16.
    pub policies: Vec<String>,
}

/// Traffic to a port since `since`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Time from which the counts are complete (RFC 3339, UTC); `null` if nothing is counted.
    pub since: Option<String>,
    /// The farthest caller of an earlier run, not counted: `node`, `pod`, `published` (a pod, from outside) or `external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_earlier: Option<String>,
    /// Number of connection attempts.
    pub attempts: u64,
    /// Number of accepted connections.
    pub connections: u64,
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Time of the last packet or connection (RFC 3339, UTC); `null` if there was none.
    pub last_seen: Option<String>,
    /// Callers, the busiest first; at most 20, except in `PolicyBasis`.
    pub peers: Vec<Peer>,
    /// True if some peers are not listed.
    pub truncated: bool,
}

/// One caller of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Address that the pod saw.
    pub address: String,
    /// `same-pod`, `pod`, `node`, `service` or `external`.
    pub origin: String,
    /// `NAMESPACE/NAME` of the calling pod; `null` if unknown.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Workload of the calling pod; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Name of the node whose address this is; absent unless `kubectl portolan` found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_node: Option<String>,
    /// Dialled address; absent if it is the pod's own address or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// True if none of `declaration.explainedBy` explains the peer's calls; absent if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond_audience: bool,
    /// Number of accepted connections.
    pub connections: u64,
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Time of the first traffic (RFC 3339, UTC).
    pub first_seen: String,
    /// Time of the last traffic (RFC 3339, UTC).
    pub last_seen: String,
}

/// Address and port of a pod's side of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// IP address.
    pub address: String,
    /// Port number.
    pub port: u16,
}

/// Address and port of a caller, and who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteEndpoint {
    /// IP address that the pod saw.
    pub address: String,
    /// Port number that the pod saw.
    pub port: u16,
    /// `same-pod`, `pod`, `node`, `service` or `external`.
    pub origin: String,
    /// `NAMESPACE/NAME` of the calling pod; `null` if unknown.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Dialled address; absent if it is the pod's own address or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// Way on which a caller reached the port: the address that it dialled, taken from this node's connection tracking, or
/// what takes its connections inside the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Via {
    /// IP address.
    pub address: String,
    /// Port number.
    pub port: u16,
    /// `clusterIP`, `nodePort`, `loadBalancer`, `externalIP`, `hostPort`, `nodeAddress` or `unknown`; `proxy` if a proxy
    /// in the pod takes the connection on this port; `forwarded` if rules in the pod lead the connection to this address.
    pub kind: String,
    /// `NAMESPACE/NAME` of the Service; `null` if unknown.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The caller's own address; `null` if the pod saw that address itself.
    pub client: Option<String>,
}

/// Exception that suppresses a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suppression {
    /// Name of the rule, or of the annotation.
    pub rule: String,
    /// Reason that the rule gives.
    pub reason: String,
}
