//! The wire types of `portolan/v1`: exactly what stdout and HTTP carry. Engine types become these at the edge, and never
//! the other way round except in the command-line client.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of `schema` in every object.
pub const SCHEMA: &str = "portolan/v1";

/// One object of the stream; `kind` tells which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Report {
    Finding(Finding),
    Listener(Listener),
    Connection(Connection),
    Loss(Loss),
    AgentStatus(AgentStatus),
}

/// What every object carries beside its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Name of the node.
    pub node: String,
    /// When the object was written, RFC 3339 UTC.
    pub time: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub id: String,
    /// `open`, `suppressed` or `resolved`.
    pub state: String,
    pub code: String,
    /// `critical`, `high`, `medium`, `low` or `info`.
    pub severity: String,
    pub message: String,
    pub first_seen: String,
    pub last_seen: String,
    pub pod: Option<Pod>,
    pub container: Option<Container>,
    /// Of the port that it is about, also where nobody serves it; `null` where it is about a pod.
    #[serde(default)]
    pub protocol: Option<String>,
    #[serde(default)]
    pub port: Option<u16>,
    pub listener: Option<Box<Listener>>,
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`.
    pub exposure: String,
    pub policy: Policy,
    pub traffic: Traffic,
    pub suppressed_by: Option<Suppression>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub id: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub port: u16,
    pub addresses: Vec<String>,
    pub v6_only: bool,
    /// How many sockets serve the port (SO_REUSEPORT, one per address family, …).
    pub sockets: usize,
    pub netns: Netns,
    pub process: Option<Process>,
    /// `null`: older than the agent.
    pub opened_at: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    pub pod: Option<Pod>,
    pub container: Option<Container>,
    pub declaration: Declaration,
    pub traffic: Traffic,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Id of the listener.
    pub id: String,
    pub protocol: String,
    pub local: Endpoint,
    pub remote: RemoteEndpoint,
    pub opened_at: String,
    /// `null`: still open.
    pub closed_at: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub pod: Option<Pod>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub reason: String,
    pub count: u64,
    /// True once the scan after it is done.
    pub recovered: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub version: String,
    pub kernel: String,
    pub hooks: Vec<HookStatus>,
    pub sources: Vec<SourceStatus>,
    pub namespaces: usize,
    pub listeners: usize,
    /// Reason to number.
    pub lost: std::collections::BTreeMap<String, u64>,
    pub limits: std::collections::BTreeMap<String, Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookStatus {
    pub name: String,
    /// `attached`, `attaching`, `partial`, `refused`, `off`, or `waiting` for the first network namespace.
    pub state: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    pub name: String,
    /// `up` or `down`.
    pub state: String,
    pub since: String,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    pub used: u64,
    pub max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub workload: Option<Workload>,
    pub host_network: bool,
    /// For filters; not written.
    #[serde(skip)]
    pub labels: Option<Arc<BTreeMap<String, String>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    pub name: String,
    pub id: String,
    pub image: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Netns {
    pub inode: u64,
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub executable: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// `declared`, `explained`, `undeclared` or `unknown`.
    pub status: String,
    pub declared_by: Vec<String>,
    pub explained_by: Vec<Explanation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub source: String,
    #[serde(rename = "ref")]
    pub reference: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub verdict: String,
    pub policies: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub attempts: u64,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub last_seen: Option<String>,
    pub peers: Vec<Peer>,
    /// Not every peer is listed.
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub address: String,
    /// `same-pod`, `pod`, `node`, `service` or `external`.
    pub origin: String,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// What was dialled, where that was not the pod's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    pub connections: u64,
    pub packets: u64,
    pub bytes: u64,
    pub first_seen: String,
    pub last_seen: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub address: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteEndpoint {
    pub address: String,
    pub port: u16,
    pub origin: String,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// What was dialled, where that was not the pod's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// The address that a client really dialled, as this node's connection tracking shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Via {
    pub address: String,
    pub port: u16,
    /// `clusterIP`, `nodePort`, `loadBalancer`, `externalIP`, `hostPort`, `nodeAddress` or `unknown`.
    pub kind: String,
    /// `NAMESPACE/NAME` of the Service, where known.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The client's own address, where the pod saw another.
    pub client: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suppression {
    pub rule: String,
    pub reason: String,
}

/// Answer of a list route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    pub schema: String,
    pub items: Vec<T>,
    /// Pass it as `continue` for the next page; `null` on the last.
    pub r#continue: Option<String>,
    /// Grows whenever anything listed changes.
    pub generation: u64,
}

/// Answer of `/v1/pods/{namespace}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodDetail {
    #[serde(flatten)]
    pub envelope: Envelope,
    pub pod: Pod,
    /// Each is a `Finding`.
    pub findings: Vec<Report>,
    /// Each is a `Listener`.
    pub listeners: Vec<Report>,
    /// Not everything is listed.
    pub truncated: bool,
}

/// Answer of `/v1/policy`: what a NetworkPolicy for a pod or a workload can be drafted from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyBasis {
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The target's pods of this node, never none.
    pub pods: Vec<PolicyPod>,
    /// The other pods of their namespaces on this node.
    pub neighbours: Vec<LabelledPod>,
    /// The pods of this node that called one of the ports.
    pub callers: Vec<LabelledPod>,
    /// Not every pod or port is listed.
    pub truncated: bool,
}

/// A pod that the policy is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyPod {
    #[serde(flatten)]
    pub labelled: LabelledPod,
    /// Names of the NetworkPolicies that select it, or may.
    pub policies: Vec<String>,
    pub ports: Vec<PolicyPort>,
}

/// A pod with its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelledPod {
    pub pod: Pod,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A port that is declared or served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub port: u16,
    /// As a container calls it.
    pub name: Option<String>,
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`; `null`: nobody serves it now.
    pub exposure: Option<String>,
    pub process: Option<Process>,
    /// Of the open finding about it.
    pub code: Option<String>,
    pub traffic: Traffic,
}
