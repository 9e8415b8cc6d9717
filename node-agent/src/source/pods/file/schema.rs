//! The few fields of Kubernetes objects that matter here; all others are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// Enough of a document to know whether it matters.
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

/// Of a pod, or of what makes pods.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub host_network: Option<bool>,
    pub containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub init_containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub ephemeral_containers: Option<Vec<Spanned<ContainerSpec>>>,
    pub template: Option<Box<Template>>,
    pub job_template: Option<Box<Template>>,
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
    pub pod_ips: Option<Vec<PodIp>>,
}

#[derive(Debug, Deserialize)]
pub struct PodIp {
    pub ip: Option<String>,
}
