//! Answers of HTTP routes that hold several objects.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{Envelope, Pod, Report};

/// Answer of a list route: one page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    /// Always `portolan/v1`.
    pub schema: String,
    /// Objects of this page.
    pub items: Vec<T>,
    /// Value of the parameter `continue` that asks for the next page; `null` on the last page.
    pub r#continue: Option<String>,
    /// Number that grows whenever a listed object changes.
    pub generation: u64,
}

/// Item of `/v1/pods`: a live pod of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodePod {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The pod.
    pub pod: Pod,
    /// IP addresses of the pod; those of the node for a pod with `hostNetwork`. Empty if no source knows them.
    pub addresses: Vec<String>,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
}

/// Answer of `/v1/pods/{namespace}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodDetail {
    /// Fields that every object has.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The pod.
    pub pod: Pod,
    /// Findings about the pod; each is a `Finding`.
    pub findings: Vec<Report>,
    /// Listeners of the pod; each is a `Listener`.
    pub listeners: Vec<Report>,
    /// True if some findings or listeners are not listed.
    pub truncated: bool,
}
