//! Wire types of `/v1/policy`: the facts from which commands draft a NetworkPolicy or missing declarations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Declaration, Envelope, Pod, Process, Traffic};

/// Answer of `/v1/policy`: facts from which a NetworkPolicy for a pod or a workload can be drafted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyBasis {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Pods of the target on this node; at least one.
    pub pods: Vec<PolicyPod>,
    /// Other pods on this node in the same Kubernetes namespaces.
    pub neighbours: Vec<LabelledPod>,
    /// Pods on this node that called one of the ports.
    pub callers: Vec<LabelledPod>,
    /// True if some pods or ports are not listed.
    pub truncated: bool,
}

/// A pod for which a NetworkPolicy is drafted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPod {
    /// The pod and its labels.
    #[serde(flatten)]
    pub labelled: LabelledPod,
    /// Names of the NetworkPolicies that select the pod, or may select it.
    pub policies: Vec<String>,
    /// Containers of the pod.
    #[serde(default)]
    pub containers: Vec<PolicyContainer>,
    /// Port names that Services look for, and that no container of the pod declares.
    #[serde(default)]
    pub missing_names: Vec<String>,
    /// True if one finding stands for the many undeclared ports of the pod.
    #[serde(default)]
    pub storm: bool,
    /// Declared or served ports of the pod.
    pub ports: Vec<PolicyPort>,
}

/// A container of a pod, and the ports that its manifest lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyContainer {
    /// Name in the pod's spec.
    pub name: String,
    /// `regular`, `sidecar`, `init` or `ephemeral`. The container runtime alone cannot tell: it says `regular`.
    pub kind: String,
    /// Entries of `ports`.
    pub ports: Vec<ContainerPort>,
}

/// One entry of a container's `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name of the port; `null` if it has none.
    pub name: Option<String>,
    /// Port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `hostPort`; `null` if the entry has none.
    pub host_port: Option<u16>,
}

/// A pod with its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelledPod {
    /// The pod.
    pub pod: Pod,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
}

/// A port that is declared or served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number.
    pub port: u16,
    /// Name of the port in a container; `null` if no container names the port.
    pub name: Option<String>,
    /// Whether the port is declared, and by what.
    pub declaration: Declaration,
    /// `loopback`, `pod` or `host`; `null` if no process serves the port.
    pub exposure: Option<String>,
    /// Name of the container that serves the port; `null` if there is none or it is unknown.
    #[serde(default)]
    pub container: Option<String>,
    /// Names that Services give the port.
    #[serde(default)]
    pub service_port_names: Vec<String>,
    /// True for a UDP port that nobody has called yet and that may be a client's.
    #[serde(default)]
    pub unproven: bool,
    /// Process that serves the port; `null` if there is none or it is unknown.
    pub process: Option<Process>,
    /// Code of the open finding about the port; `null` if there is none.
    pub code: Option<String>,
    /// Traffic to the port.
    pub traffic: Traffic,
}
