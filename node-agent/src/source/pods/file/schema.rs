//! Fields of Kubernetes objects in manifests that the agent reads; all others are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

/// The kind of a document, to decide whether to parse the rest.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub kind: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
pub struct List {
    #[serde(default)]
    pub items: Option<Vec<Spanned<Object>>>,
}

#[derive(Debug, Deserialize)]
pub struct Object {
    pub kind: Option<String>,
    pub metadata: Option<Meta>,
    pub spec: Option<Spec>,
    pub status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub name: Option<Spanned<String>>,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub labels: Option<BTreeMap<String, Option<String>>>,
    pub annotations: Option<BTreeMap<String, Option<String>>>,
    pub owner_references: Option<Vec<Owner>>,
}

#[derive(Debug, Deserialize)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub controller: Option<bool>,
}

/// `spec` of all kinds together, since a list may mix kinds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    // Fields of a Pod or a workload.
    pub host_network: Option<bool>,
    pub runtime_class_name: Option<String>,
    pub containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub init_containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub ephemeral_containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub template: Option<Box<Template>>,
    pub job_template: Option<Box<Template>>,
    // Fields of a Service.
    #[serde(rename = "type")]
    pub service_type: Option<Spanned<String>>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Option<Vec<String>>,
    pub external_traffic_policy: Option<String>,
    pub health_check_node_port: Option<Spanned<i64>>,
    pub ports: Option<Vec<Spanned<ServicePortSpec>>>,
    /// A map of strings in a Service, but not in a workload.
    pub selector: Option<BTreeMap<String, Option<Text>>>,
    // Fields of a NetworkPolicy.
    pub pod_selector: Option<Selector>,
    pub ingress: Option<Vec<Rule>>,
    pub policy_types: Option<Vec<String>>,
}

/// A string, or a value of another type, which is ignored.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Text(String),
    Other(IgnoredAny),
}

/// A reference to a port.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum NumberOrName {
    Number(i64),
    Name(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePortSpec {
    pub name: Option<String>,
    pub protocol: Option<Spanned<String>>,
    pub port: Option<Spanned<i64>>,
    pub target_port: Option<Spanned<NumberOrName>>,
    pub node_port: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    pub match_labels: Option<BTreeMap<String, Option<String>>>,
    pub match_expressions: Option<Vec<Expression>>,
}

#[derive(Debug, Deserialize)]
pub struct Expression {
    pub key: Option<String>,
    pub operator: Option<String>,
    pub values: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub struct Rule {
    pub from: Option<Vec<Peer>>,
    pub ports: Option<Vec<Spanned<PolicyPort>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub ip_block: Option<IpBlock>,
    pub namespace_selector: Option<Selector>,
    pub pod_selector: Option<Selector>,
}

#[derive(Debug, Deserialize)]
pub struct IpBlock {
    pub cidr: Option<String>,
    pub except: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    pub protocol: Option<Spanned<String>>,
    pub port: Option<Spanned<NumberOrName>>,
    pub end_port: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
pub struct Template {
    pub metadata: Option<Meta>,
    pub spec: Option<Spec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    pub name: Option<Spanned<String>>,
    pub image: Option<String>,
    pub restart_policy: Option<String>,
    pub ports: Option<Vec<Spanned<Port>>>,
    pub liveness_probe: Option<Call>,
    pub readiness_probe: Option<Call>,
    pub startup_probe: Option<Call>,
    pub lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    pub post_start: Option<Call>,
    pub pre_stop: Option<Call>,
}

/// The call of a probe or a lifecycle hook; commands are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    pub http_get: Option<Called>,
    pub tcp_socket: Option<Called>,
    pub grpc: Option<Called>,
}

#[derive(Debug, Deserialize)]
pub struct Called {
    pub port: Option<Spanned<NumberOrName>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub name: Option<String>,
    pub container_port: Option<Spanned<i64>>,
    pub host_port: Option<Spanned<i64>>,
    pub protocol: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<Ip>>,
    pub conditions: Option<Vec<Condition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    pub ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
    pub load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Deserialize)]
pub struct Ip {
    pub ip: Option<String>,
    /// Set for a load balancer only.
    pub hostname: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Condition {
    #[serde(rename = "type")]
    pub condition_type: Option<String>,
    pub status: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct ContainerStatus {
    pub name: Option<String>,
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub state: Option<ContainerState>,
}

#[derive(Debug, Deserialize)]
pub struct ContainerState {
    pub running: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct LoadBalancer {
    pub ingress: Option<Vec<Ip>>,
}
