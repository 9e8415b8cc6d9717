//! Containers of a pod from the API server: declared ports, probes, lifecycle hooks, and whether they run.

use std::collections::BTreeMap;

use portolan_engine::model::pod::{Container, ContainerKind, DeclaredPort, PortRef, ProbeHandler, ProbePort};

use super::schema::{Action, ContainerSpec, ContainerStatus, PodSpec, PodStatus, PortSpec};
use crate::source::kubernetes::object::{Cuts, Lax, LaxList, MAX_NAME, port, protocol};

const MAX_CONTAINERS: usize = 256;
/// Maximum number of ports of one container.
const MAX_PORTS: usize = 1024;
const MAX_IMAGE: usize = 512;
const MAX_ID: usize = 128;
/// Maximum length of a port's name, in bytes; Kubernetes allows 15.
const MAX_PORT_NAME: usize = 63;

type Statuses<'a> = BTreeMap<&'a str, &'a ContainerStatus>;

/// Returns the regular, init and ephemeral containers of a pod.
pub fn containers(spec: PodSpec, status: &PodStatus, cuts: &mut Cuts) -> Vec<Container> {
    let mut containers = Vec::new();
    let mut add =
        |list: LaxList<ContainerSpec>, statuses: &LaxList<ContainerStatus>, kind, cuts: &mut Cuts| {
            let statuses = by_name(statuses);
            for spec in list.entries(MAX_CONTAINERS, cuts) {
                let sidecar =
                    kind == ContainerKind::Init && spec.restart_policy.0.as_deref() == Some("Always");
                let kind = if sidecar { ContainerKind::Sidecar } else { kind };
                containers.extend(container(spec, &statuses, kind, cuts));
            }
        };
    add(spec.containers, &status.container_statuses, ContainerKind::Regular, cuts);
    add(spec.init_containers, &status.init_container_statuses, ContainerKind::Init, cuts);
    add(spec.ephemeral_containers, &status.ephemeral_container_statuses, ContainerKind::Ephemeral, cuts);
    containers.shrink_to_fit();
    containers
}

fn by_name(statuses: &LaxList<ContainerStatus>) -> Statuses<'_> {
    let statuses = statuses.0.iter().flatten().filter_map(|status| status.0.as_ref());
    statuses.filter_map(|status| Some((status.name.0.as_deref()?, status))).collect()
}

fn container(
    spec: ContainerSpec,
    statuses: &Statuses<'_>,
    kind: ContainerKind,
    cuts: &mut Cuts,
) -> Option<Container> {
    let name = cuts.short(spec.name.0.filter(|name| !name.is_empty())?, MAX_NAME)?;
    let status = statuses.get(name.as_str());
    let id = status.and_then(|status| status.container_id.0.as_deref()).unwrap_or_default();
    // The status has the form `containerd://ID`.
    let id = id.rsplit_once("://").map_or(id, |(_, bare)| bare).to_owned();
    let lifecycle = spec.lifecycle.0.unwrap_or_default();
    let mut probes = Vec::new();
    for (handler, action) in [
        (ProbeHandler::Liveness, spec.liveness_probe),
        (ProbeHandler::Readiness, spec.readiness_probe),
        (ProbeHandler::Startup, spec.startup_probe),
        (ProbeHandler::PostStart, lifecycle.post_start),
        (ProbeHandler::PreStop, lifecycle.pre_stop),
    ] {
        probes.extend(called(action, cuts).map(|port| ProbePort { handler, port }));
    }
    probes.shrink_to_fit();
    let mut ports: Vec<DeclaredPort> = spec.ports.entries(MAX_PORTS, cuts).filter_map(declared).collect();
    ports.shrink_to_fit();
    Some(Container {
        name,
        id: cuts.short(id, MAX_ID).unwrap_or_default(),
        image: cuts.short(spec.image.0.unwrap_or_default(), MAX_IMAGE).unwrap_or_default(),
        kind,
        running: status.and_then(|status| Some(status.state.0.as_ref()?.running.0.is_some())),
        ports,
        probes,
    })
}

/// Parses a declared port; `None` for an invalid number or an unknown protocol.
fn declared(spec: PortSpec) -> Option<DeclaredPort> {
    Some(DeclaredPort {
        port: port(spec.container_port.0)?,
        protocol: protocol(spec.protocol.0.as_deref())?,
        host_port: port(spec.host_port.0),
        name: spec.name.0.filter(|name| !name.is_empty() && name.len() <= MAX_PORT_NAME),
    })
}

/// Returns the port of this pod that a probe or lifecycle hook calls. Kubelet treats a string of digits as a number.
fn called(action: Lax<Action>, cuts: &mut Cuts) -> Option<PortRef> {
    let action = action.0?;
    let call = action.http_get.0.or(action.tcp_socket.0).or(action.grpc.0)?;
    if call.host.0.is_some_and(|host| !host.is_empty()) {
        return None;
    }
    match call.port.0?.port(cuts)? {
        PortRef::Name(text) => match text.parse().ok() {
            Some(number) => port(Some(number)).map(PortRef::Number),
            None => Some(PortRef::Name(text)),
        },
        number => Some(number),
    }
}
