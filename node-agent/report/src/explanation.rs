//! Wire type of `/v1/explain`: the path from an address to a pod's port, for a pod, a port, a Service or a node port.
//!
//! This type is the answer to a request and never part of the stream, so it is separate from `wire`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Declaration, Envelope, Finding, Listener, Netns, Pod};

/// Answer of `/v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetExplanation {
    /// Always `Explanation`.
    pub kind: ExplanationKind,
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// What was asked about.
    pub target: ExplainedTarget,
    /// The answer, in sentences.
    pub answer: Vec<String>,
    /// Remarks about the answer.
    pub notes: Vec<String>,
    /// Reasons why the answer is incomplete; empty if it is complete.
    pub partial: Vec<String>,
    /// What to do next.
    pub next: Vec<String>,
    /// Services on the path.
    pub services: Vec<ExplainedService>,
    /// Pods of this node at the ends of the paths.
    pub pods: Vec<ExplainedPod>,
    /// Ports at which the paths end.
    pub ends: Vec<ExplainedEnd>,
    /// True if some services, pods or ends are not listed because there are too many.
    pub truncated: bool,
}

/// Always `Explanation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExplanationKind {
    #[expect(missing_docs, reason = "the enum says it; a comment here would change the schema's shape")]
    Explanation,
}

/// Target of the request, as the agent understood it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTarget {
    /// `pod`, `service` or `nodePort`.
    pub kind: String,
    /// The target in a form that can be asked again.
    pub text: String,
}

/// A Service on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedService {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    /// True if the Service has no cluster IP (`clusterIP: None`).
    pub headless: bool,
    /// Selector as `key=value`; empty if something else manages the endpoints.
    pub selector: Vec<String>,
    /// `Local` or `Cluster`.
    pub external_traffic_policy: String,
    /// Ports of the Service that the target means.
    pub ports: Vec<ExplainedServicePort>,
    /// Number of pods of this node that the Service selects.
    pub pods_on_this_node: usize,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedServicePort {
    /// Name of the port; `null` if it has none.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number of the Service.
    pub port: u16,
    /// Number, or name of a container's port.
    pub target_port: String,
    /// NodePort; `null` if there is none.
    pub node_port: Option<u16>,
}

/// A pod at the end of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPod {
    /// The pod.
    pub pod: Pod,
    /// IP addresses of the pod.
    pub addresses: Vec<String>,
    /// Readiness of the pod; `null` if no source reports it.
    pub ready: Option<bool>,
    /// Sandboxed runtime whose sockets this node's kernel does not see; `null` if the pod uses none.
    pub opaque_runtime: Option<String>,
    /// Network namespace; `null` if the agent has not seen it yet.
    pub netns: Option<Netns>,
    /// Number of ports of the pod on which a socket listens.
    pub listening: usize,
    /// Findings about the pod as a whole.
    pub findings: Vec<Finding>,
}

/// A port at which a path ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WayIn")]
#[serde(rename_all = "camelCase")]
pub struct ExplainedEnd {
    /// Addresses and ports that a caller may dial.
    #[serde(rename = "doors")]
    pub entry_points: Vec<ExplainedEntryPoint>,
    /// Pod of the port; `null` if the socket is the node's own.
    pub pod: Option<Pod>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number; `null` if the pod has no port with the name in targetPort.
    pub port: Option<u16>,
    /// `served`, `silent`, `unresolved`, `unseen` or `opaque`.
    pub state: String,
    /// Listener on the port, with process, container and traffic; `null` if no listener is known.
    pub listener: Option<Listener>,
    /// Whether the port is declared, and by what.
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`.
    pub exposure: String,
    /// Effect of NetworkPolicies on the port.
    pub policy: ExplainedPolicy,
    /// Findings about the port. Their `listener` is `null`, because it is the field above.
    pub findings: Vec<Finding>,
    /// If no process listens: ports of the same pod on which a socket listens, the nearest number first.
    pub nearest: Vec<NearPort>,
}

/// An address and port that a caller may dial to reach an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WayInDoor")]
pub struct ExplainedEntryPoint {
    /// `nodePort`, `loadBalancer`, `externalIP`, `clusterIP`, `headless`, `hostPort`, `hostNetwork`, `podAddress` or
    /// `loopback`.
    pub kind: String,
    /// IP addresses, or the DNS name of a headless Service; empty for any address of a node, or if unknown.
    pub addresses: Vec<String>,
    /// Port number to dial.
    pub port: u16,
    /// Service that forwards to the end; `null` if the path has none.
    pub service: Option<EntryPointService>,
}

/// Service and port through which an entry point leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DoorService")]
pub struct EntryPointService {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Port of the Service.
    pub port: ExplainedServicePort,
}

/// Effect of NetworkPolicies on an end, policy by policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WayInPolicy")]
pub struct ExplainedPolicy {
    /// `open`, `blocked`, `not-isolated` or `unknown`.
    pub verdict: String,
    /// Policies that select the pod, or may select it.
    pub policies: Vec<PolicyOpinion>,
}

/// What one NetworkPolicy does with a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyOpinion {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// True if the policy admits the port from any peer; `null` if its selector is not understood.
    pub admits: Option<bool>,
    /// Number of peers that the policy's rules for the port name; 0 with `admits: true` means every caller.
    pub peers: usize,
}

/// A port of the same pod on which a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NearPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number.
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use portolan_engine::model::traffic::ViaKind;
    use portolan_engine::read::explain::answer::EntryPointKind;

    #[test]
    fn via_and_entry_points_use_the_same_names() {
        for (via, entry_point) in [
            (ViaKind::ClusterIp, EntryPointKind::ClusterIp),
            (ViaKind::NodePort, EntryPointKind::NodePort),
            (ViaKind::LoadBalancer, EntryPointKind::LoadBalancer),
            (ViaKind::ExternalIp, EntryPointKind::ExternalIp),
            (ViaKind::HostPort, EntryPointKind::HostPort),
        ] {
            assert_eq!(via.as_str(), entry_point.as_str());
        }
    }
}
