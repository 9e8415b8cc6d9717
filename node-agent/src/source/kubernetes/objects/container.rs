//! Containers of a pod: declared ports, probes, lifecycle hooks, and whether they run.

use std::collections::BTreeMap;

use portolan_engine::model::pod::{Container, ContainerKind, DeclaredPort};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fields::{
    AtLeastOne, Cuts, Fields, List, Name, OptionalPort, PortNumber, ProtocolName, port_name,
};
use super::image_digest;
use super::probe::{Handler, Lifecycle, OwnHosts, calls};

const MAX_CONTAINERS: usize = 256;
/// Maximum number of ports of one container.
pub const MAX_PORTS: usize = 4096;
const MAX_IMAGE: usize = 512;
const MAX_ID: usize = 128;

/// The fields of a container that are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    name: Name,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    restart_policy: Option<String>,
    #[serde(default)]
    ports: List<Fields<PortSpec>>,
    #[serde(default)]
    liveness_probe: Fields<Handler>,
    #[serde(default)]
    readiness_probe: Fields<Handler>,
    #[serde(default)]
    startup_probe: Fields<Handler>,
    #[serde(default)]
    lifecycle: Fields<Lifecycle>,
}

/// A declared port; also what kubelet writes into the annotation of a runtime's container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortSpec {
    #[serde(default)]
    name: Option<String>,
    container_port: PortNumber,
    #[serde(default)]
    host_port: OptionalPort,
    #[serde(default)]
    protocol: ProtocolName,
}

/// The three lists of containers of a pod's spec.
pub struct ContainerSpecs {
    pub containers: AtLeastOne<Fields<ContainerSpec>>,
    pub init_containers: List<Fields<ContainerSpec>>,
    pub ephemeral_containers: List<Fields<ContainerSpec>>,
}

/// The status of one container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    name: Option<String>,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    pub ready: Option<bool>,
    state: Fields<ContainerState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<IgnoredAny>,
}

/// The statuses of the three lists of containers.
#[derive(Clone, Copy)]
pub struct ContainerStatuses<'a> {
    pub containers: &'a [Fields<ContainerStatus>],
    pub init_containers: &'a [Fields<ContainerStatus>],
    pub ephemeral_containers: &'a [Fields<ContainerStatus>],
}

impl From<PortSpec> for DeclaredPort {
    fn from(spec: PortSpec) -> Self {
        Self {
            name: port_name(spec.name),
            port: spec.container_port.0,
            protocol: spec.protocol.0,
            host_port: spec.host_port.0,
        }
    }
}

/// Converts the regular, init and ephemeral containers of a pod.
pub fn containers(
    specs: ContainerSpecs,
    statuses: ContainerStatuses<'_>,
    hosts: &OwnHosts,
    cuts: &mut Cuts,
) -> Vec<Container> {
    let lists = [
        (specs.containers.0, statuses.containers, ContainerKind::Regular),
        (specs.init_containers.0, statuses.init_containers, ContainerKind::Init),
        (specs.ephemeral_containers.0, statuses.ephemeral_containers, ContainerKind::Ephemeral),
    ];
    let mut containers = Vec::new();
    for (list, statuses, kind) in lists {
        cuts.beyond(list.len(), MAX_CONTAINERS);
        let statuses: BTreeMap<&str, &ContainerStatus> =
            statuses.iter().filter_map(|status| Some((status.0.name.as_deref()?, &status.0))).collect();
        for Fields(spec) in list.into_iter().take(MAX_CONTAINERS) {
            let status = statuses.get(spec.name.0.as_str()).copied();
            containers.push(container(spec, status, kind, hosts, cuts));
        }
    }
    containers.shrink_to_fit();
    containers
}

fn container(
    spec: ContainerSpec,
    status: Option<&ContainerStatus>,
    kind: ContainerKind,
    hosts: &OwnHosts,
    cuts: &mut Cuts,
) -> Container {
    let is_sidecar = kind == ContainerKind::Init && spec.restart_policy.as_deref() == Some("Always");
    let id = status.and_then(|status| status.container_id.as_deref()).unwrap_or_default();
    // The status has the form `containerd://ID`.
    let id = id.rsplit_once("://").map_or(id, |(_, bare)| bare).to_owned();
    let image_id = status.and_then(|status| status.image_id.as_deref()).unwrap_or_default();
    let probes = [spec.liveness_probe.0, spec.readiness_probe.0, spec.startup_probe.0];
    let mut ports: Vec<DeclaredPort> =
        spec.ports.within(MAX_PORTS, cuts).map(|Fields(port)| DeclaredPort::from(port)).collect();
    if hosts.has_node_network() {
        // The API server's default in the node's network.
        ports.iter_mut().for_each(|port| port.host_port = port.host_port.or(Some(port.port)));
    }
    ports.shrink_to_fit();
    Container {
        name: spec.name.0,
        id: cuts.short(id, MAX_ID).unwrap_or_default(),
        image: cuts.short(spec.image.unwrap_or_default(), MAX_IMAGE).unwrap_or_default(),
        image_digest: image_digest::of_reference(image_id).unwrap_or_default().to_owned(),
        kind: if is_sidecar { ContainerKind::Sidecar } else { kind },
        running: status.map(|status| status.state.0.running.is_some()),
        ports,
        probes: calls(probes, spec.lifecycle.0, hosts),
    }
}
