//! The wire type of `/v1/explain`: the way in to a pod, a port, a Service or a port of the node. It is asked for and never
//! streamed, so it stands beside the objects of the stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Declaration, Envelope, Finding, Listener, Netns, Pod};

/// Answer of `/v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// `Explanation` is why one port is expected: see `wire`.
#[schemars(rename = "TargetExplanation")]
pub struct Explanation {
    pub kind: ExplanationKind,
    #[serde(flatten)]
    pub envelope: Envelope,
    pub target: ExplainedTarget,
    /// The answer, in sentences.
    pub answer: Vec<String>,
    /// What one should know beside it.
    pub notes: Vec<String>,
    /// Why it is not the whole answer; empty where it is.
    pub partial: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// The Services on the way.
    pub services: Vec<ExplainedService>,
    /// The pods of this node at the ends of the ways.
    pub pods: Vec<ExplainedPod>,
    /// The ports at which the ways end.
    pub ends: Vec<WayIn>,
    /// Something was left out, since there is too much of it.
    pub truncated: bool,
}

/// Always `Explanation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExplanationKind {
    Explanation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTarget {
    /// `pod`, `service` or `nodePort`.
    pub kind: String,
    /// As it may be asked again.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedService {
    pub namespace: String,
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    pub headless: bool,
    /// `key=value`; empty: its endpoints are somebody else's work.
    pub selector: Vec<String>,
    /// `Local` or `Cluster`.
    pub external_traffic_policy: String,
    /// Those that are asked for.
    pub ports: Vec<ExplainedServicePort>,
    /// Pods of this node that it selects.
    pub pods_on_this_node: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedServicePort {
    pub name: Option<String>,
    pub protocol: String,
    pub port: u16,
    /// A number, or the name of a container's port.
    pub target_port: String,
    pub node_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPod {
    pub pod: Pod,
    pub addresses: Vec<String>,
    /// `null` where no source says so.
    pub ready: Option<bool>,
    /// A runtime whose sockets this node's kernel does not see.
    pub opaque_runtime: Option<String>,
    /// `null` where it was not seen yet.
    pub netns: Option<Netns>,
    /// How many of its ports are listened on.
    pub listening: usize,
    /// On the pod as a whole.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WayIn {
    /// What may be dialled.
    pub doors: Vec<WayInDoor>,
    /// `null`: the node's own socket.
    pub pod: Option<Pod>,
    pub protocol: String,
    /// `null`: the pod has no port of the name that targetPort says.
    pub port: Option<u16>,
    /// `served`, `silent`, `unresolved`, `unseen` or `opaque`.
    pub state: String,
    /// With process, container and traffic; `null` where nobody is seen to listen.
    pub listener: Option<Listener>,
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`.
    pub exposure: String,
    pub policy: WayInPolicy,
    /// On this port; `listener` is `null` in them, since it stands above.
    pub findings: Vec<Finding>,
    /// Where nobody listens: ports of the same pod that are listened on, the nearest first.
    pub nearest: Vec<NearPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayInDoor {
    /// `nodePort`, `loadBalancer`, `externalIP`, `clusterIP`, `headless`, `hostPort`, `hostNetwork`, `podAddress` or
    /// `loopback`.
    pub kind: String,
    /// Empty: any address of a node, or one that is not known.
    pub addresses: Vec<String>,
    pub port: u16,
    pub service: Option<DoorService>,
}

/// Through which port of which Service a door leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorService {
    pub namespace: String,
    pub name: String,
    pub port: ExplainedServicePort,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayInPolicy {
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub verdict: String,
    /// Those that select the pod, or may.
    pub policies: Vec<PolicyOpinion>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyOpinion {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Whether it admits this port from anywhere; `null` where its selector is not understood.
    pub admits: Option<bool>,
    /// How many peers its rules for this port name; 0 where it admits: from everywhere.
    pub peers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NearPort {
    pub protocol: String,
    pub port: u16,
}
