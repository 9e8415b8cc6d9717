//! Pods, reduced to what the engine needs: some KiB each, instead of 67 KiB for the type of the Kubernetes client.

use std::net::IpAddr;

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::netns::canonical;
use portolan_engine::model::pod::{Container, ContainerKind, Pod, hides_sockets};
use serde::Deserialize;

use super::container::{ContainerSpec, ContainerSpecs, ContainerStatus, ContainerStatuses, containers};
use super::fault::{Fault, shortened};
use super::fields::{AtLeastOne, Cuts, Fields, List};
use super::metadata::Metadata;
use super::probe::OwnHosts;

/// Annotation that binds a pod to a netns, by a name in [`NETNS_DIR`] or a path.
pub const NETNS_ANNOTATION: &str = "portolan.dev/netns";
/// Directory of the netns that the annotation names.
pub const NETNS_DIR: &str = "/run/netns/";
/// Annotation that kubelet sets on the mirror of a static pod: kubelet's own UID of the pod, which cgroups and the runtime use.
const MIRROR_OF: &str = "kubernetes.io/config.mirror";
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const MAX_ADDRESSES: usize = 16;
const MAX_UID: usize = 64;

/// The fields of a pod's spec that are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    #[serde(default)]
    pub node_name: Option<String>,
    #[serde(default)]
    host_network: Option<bool>,
    #[serde(default)]
    runtime_class_name: Option<String>,
    containers: AtLeastOne<Fields<ContainerSpec>>,
    #[serde(default)]
    init_containers: List<Fields<ContainerSpec>>,
    #[serde(default)]
    ephemeral_containers: List<Fields<ContainerSpec>>,
}

/// The fields of a pod's status that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: List<Fields<PodIp>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    #[serde(rename = "hostIPs")]
    host_ips: List<Fields<PodIp>>,
    conditions: List<Fields<Condition>>,
    container_statuses: List<Fields<ContainerStatus>>,
    init_container_statuses: List<Fields<ContainerStatus>>,
    ephemeral_container_statuses: List<Fields<ContainerStatus>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
}

/// A pod's UID, and that of its mirror.
pub struct PodIdentity {
    /// The UID that cgroups and the runtime use; `None` if the object has none.
    pub uid: Option<PodUid>,
    /// The API server's UID if that differs.
    pub mirror: Option<PodUid>,
}

/// Returns the identity of a pod of this node.
///
/// # Errors
/// If the UID is longer than any that Kubernetes gives.
pub fn identity(metadata: &Metadata, node: Option<&str>) -> Result<PodIdentity, Fault> {
    let uid = metadata.uid.as_deref().filter(|uid| !uid.is_empty());
    if uid.is_some_and(|uid| uid.len() > MAX_UID) {
        return Err(Fault::new("metadata.uid", format!("has more than {MAX_UID} characters")));
    }
    let uid = uid.map(|uid| PodUid(uid.to_owned()));
    let is_mirror =
        metadata.annotation(MIRROR_OF).is_some() && node.is_some_and(|node| metadata.is_owned_by_node(node));
    let hash = metadata.annotation(CONFIG_HASH).or(metadata.annotation(MIRROR_OF));
    Ok(match hash.filter(|hash| is_mirror && is_hash(hash)) {
        Some(hash) => PodIdentity { uid: Some(PodUid(hash.to_owned())), mirror: uid },
        None => PodIdentity { uid, mirror: None },
    })
}

/// True for a hash in the form that kubelet makes of a manifest. Anybody may write the annotation, but the API server never
/// gives a pod a UID of this form.
fn is_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Converts a pod; `None` for one that has ended: it has no socket, and its address may be another pod's by now.
///
/// # Errors
/// The first fault.
pub fn pod(
    mut metadata: Metadata,
    spec: Option<Fields<PodSpec>>,
    status: Option<Fields<PodStatus>>,
    cuts: &mut Cuts,
) -> Result<Option<Pod>, Fault> {
    let Fields(spec) = spec.ok_or_else(|| Fault::missing("spec"))?;
    let status = status.unwrap_or_default().0;
    let (namespace, name) = metadata.key()?;
    let PodIdentity { uid, mirror } = identity(&metadata, spec.node_name.as_deref())?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Ok(None);
    }
    let netns = netns_annotation("metadata", &metadata)?;
    let labels = metadata.take_labels("metadata.labels")?;
    let made = made_of(spec, &status, cuts);
    let condition = |kind: &str| is_true(&status, kind);
    let service_ready = condition("Ready");
    Ok(Some(Pod {
        uid: uid.unwrap_or_else(|| uid_without("Pod", &namespace, &name)),
        mirror,
        workload: metadata.controller(&labels),
        ready: condition("ContainersReady")
            .or_else(|| containers_ready(&status, &made.containers))
            .or(service_ready),
        service_ready,
        draining: metadata.deletion_timestamp.is_some(),
        namespace,
        name,
        labels,
        annotations: metadata.take_annotations(cuts),
        netns_path: netns.filter(|_| !made.host_network),
        ..made
    }))
}

/// Returns a UID for an object that the API server gave none.
pub(super) fn uid_without(kind: &str, namespace: &str, name: &str) -> PodUid {
    PodUid(format!("manifest/{kind}/{namespace}/{name}").to_lowercase())
}

/// Converts a pod's spec and status: containers, addresses and runtime.
pub(super) fn made_of(spec: PodSpec, status: &PodStatus, cuts: &mut Cuts) -> Pod {
    let host_network = spec.host_network.unwrap_or(false);
    let addresses = addresses(status.pod_ip.as_deref(), &status.pod_ips, cuts);
    let hosts = if host_network {
        let node = self::addresses(status.host_ip.as_deref(), &status.host_ips, cuts);
        OwnHosts::Node(addresses.iter().copied().chain(node).collect())
    } else {
        OwnHosts::Pod(addresses.clone())
    };
    let specs = ContainerSpecs {
        containers: spec.containers,
        init_containers: spec.init_containers,
        ephemeral_containers: spec.ephemeral_containers,
    };
    let statuses = ContainerStatuses {
        containers: &status.container_statuses.0,
        init_containers: &status.init_container_statuses.0,
        ephemeral_containers: &status.ephemeral_container_statuses.0,
    };
    Pod {
        host_network,
        containers: containers(specs, statuses, &hosts, cuts),
        addresses,
        opaque_runtime: spec.runtime_class_name.filter(|class| hides_sockets(class)),
        ..Pod::default()
    }
}

/// Returns the canonical path of the netns that an object's annotation names. `path` is that of the metadata.
///
/// # Errors
/// For a path that ends with a process: another process may get its id, and the path would name that one's netns.
pub(super) fn netns_annotation(path: &str, metadata: &Metadata) -> Result<Option<String>, Fault> {
    match metadata.annotation(NETNS_ANNOTATION) {
        None | Some("") => Ok(None),
        Some(value) if value.starts_with("/proc/") => Err(Fault::new(
            format!("{path}.annotations.{NETNS_ANNOTATION}"),
            format!(
                "is {}, which ends with the process: expected a name in {NETNS_DIR} or a path in a directory of \
                 --netns-dir",
                shortened(value)
            ),
        )),
        Some(value) if value.starts_with('/') => Ok(Some(canonical(value).to_owned())),
        Some(name) => Ok(Some(format!("{NETNS_DIR}{name}"))),
    }
}

fn addresses(first: Option<&str>, all: &List<Fields<PodIp>>, cuts: &mut Cuts) -> Vec<IpAddr> {
    cuts.beyond(all.0.len(), MAX_ADDRESSES);
    let all = all.0.iter().take(MAX_ADDRESSES).filter_map(|ip| ip.0.ip.as_deref());
    let mut addresses: Vec<IpAddr> = first.into_iter().chain(all).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.shrink_to_fit();
    addresses
}

/// Returns one of kubelet's conditions.
fn is_true(status: &PodStatus, kind: &str) -> Option<bool> {
    let mut conditions = status.conditions.0.iter().map(|condition| &condition.0);
    let condition = conditions.find(|condition| condition.kind.as_deref() == Some(kind))?;
    condition.status.as_deref().map(|status| status == "True")
}

/// Returns whether all regular containers are ready by their own statuses; `None` without statuses.
fn containers_ready(status: &PodStatus, containers: &[Container]) -> Option<bool> {
    let statuses = &status.container_statuses.0;
    let regular = containers.iter().filter(|container| container.kind == ContainerKind::Regular).count();
    let ready = statuses.iter().filter(|status| status.0.ready == Some(true)).count();
    (!statuses.is_empty()).then_some(ready >= regular)
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
