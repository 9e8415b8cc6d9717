//! Fields of a Pod that the agent reads; the parser skips all others.

use serde::Deserialize;

use crate::source::kubernetes::object::{IntOrString, Lax, LaxList};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: Lax<String>,
    pub host_network: Lax<bool>,
    pub containers: LaxList<ContainerSpec>,
    pub init_containers: LaxList<ContainerSpec>,
    pub ephemeral_containers: LaxList<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerSpec {
    pub name: Lax<String>,
    pub image: Lax<String>,
    pub restart_policy: Lax<String>,
    pub ports: LaxList<PortSpec>,
    pub liveness_probe: Lax<Action>,
    pub readiness_probe: Lax<Action>,
    pub startup_probe: Lax<Action>,
    pub lifecycle: Lax<Lifecycle>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSpec {
    pub name: Lax<String>,
    pub container_port: Lax<i64>,
    pub host_port: Lax<i64>,
    pub protocol: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    pub post_start: Lax<Action>,
    pub pre_stop: Lax<Action>,
}

/// A probe or a lifecycle hook, if it calls a port.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Action {
    pub http_get: Lax<Call>,
    pub tcp_socket: Lax<Call>,
    pub grpc: Lax<Call>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    pub port: Lax<IntOrString>,
    /// Another host than the pod, if given.
    pub host: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: Lax<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Lax<String>,
    #[serde(rename = "podIPs")]
    pub pod_ips: LaxList<PodIp>,
    pub conditions: LaxList<Condition>,
    pub container_statuses: LaxList<ContainerStatus>,
    pub init_container_statuses: LaxList<ContainerStatus>,
    pub ephemeral_container_statuses: LaxList<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    pub ip: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Lax<String>,
    pub status: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    pub name: Lax<String>,
    #[serde(rename = "containerID")]
    pub container_id: Lax<String>,
    pub ready: Lax<bool>,
    pub state: Lax<ContainerState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub running: Lax<serde::de::IgnoredAny>,
}
