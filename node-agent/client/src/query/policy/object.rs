//! The parts of a NetworkPolicy that a draft uses, in the API server's format. No field is written as null.

use std::collections::BTreeMap;

use serde::Serialize;

/// NetworkPolicy of `networking.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// `networking.k8s.io/v1`.
    pub api_version: &'static str,
    /// `NetworkPolicy`.
    pub kind: &'static str,
    /// Name and namespace.
    pub metadata: Metadata,
    /// Pods, and who may call them.
    pub spec: Spec,
}

/// Name and namespace of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Name of the policy.
    pub name: String,
    /// Kubernetes namespace of the policy and its pods.
    pub namespace: String,
}

/// Specification of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Selects the pods that the policy isolates.
    pub pod_selector: Selector,
    /// Always `Ingress`.
    pub policy_types: [&'static str; 1],
    /// Rules that admit traffic; empty: nothing is admitted.
    pub ingress: Vec<Rule>,
}

/// Label selector for pods or namespaces. Without labels it selects all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must match exactly.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// Ports, and the peers that may call them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Peers; empty: every caller.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Peer>,
    /// Ports.
    pub ports: Vec<Port>,
}

/// Pods or addresses that may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Namespaces of the pods; `None`: the policy's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Pods; `None`: all pods of the selected namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Selector>,
    /// Addresses outside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// Range of IP addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct IpBlock {
    /// Range in CIDR notation.
    pub cidr: String,
}

/// Port of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Returns true if Kubernetes accepts this as the name of an object: dot-separated DNS labels, at most 253 bytes.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// Returns true for a DNS label, as in names of namespaces: lower-case letters, digits and inner hyphens, at most 63 bytes.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Returns true if Kubernetes accepts this key and value as a label.
#[must_use]
pub fn is_label(key: &str, value: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) if is_subdomain(prefix) => name,
        Some(_) => return false,
        None => key,
    };
    is_plain(name) && (value.is_empty() || is_plain(value))
}

fn is_plain(text: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && end(text.chars().next())
        && end(text.chars().next_back())
}
