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
pub struct PolicyPod {
    /// The pod and its labels.
    #[serde(flatten)]
    pub labelled: LabelledPod,
    /// Names of the NetworkPolicies that select the pod, or may select it.
    pub policies: Vec<String>,
    /// Declared or served ports of the pod.
    pub ports: Vec<PolicyPort>,
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
    /// Process that serves the port; `null` if there is none or it is unknown.
    pub process: Option<Process>,
    /// Code of the open finding about the port; `null` if there is none.
    pub code: Option<String>,
    /// Traffic to the port.
    pub traffic: Traffic,
}
