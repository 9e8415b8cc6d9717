//! Containers of a manifest: ports, probes and lifecycle hooks from the spec, ids from the pod's status.

use portolan_engine::model::pod::{Container, ContainerKind, DeclaredPort, ProbeHandler, ProbePort};
use serde_saphyr::Spanned;

use super::fields::{optional_port, port_number, port_ref, protocol_of};
use super::invalid::{Invalid, invalid};
use super::schema::{ContainerSpec, Port, Spec, Status};

/// Returns the regular, init and ephemeral containers of a pod's spec. `line` is that of the object.
pub(super) fn containers_of(spec: &Spec, line: u64) -> Result<Vec<Container>, Invalid> {
    if spec.containers.as_ref().is_none_or(Vec::is_empty) {
        return invalid(line, "spec.containers is missing: expected at least one container");
    }
    let mut containers = Vec::new();
    for container in spec.containers.iter().flatten() {
        containers.push(container_of(container, ContainerKind::Regular)?);
    }
    for container in spec.init_containers.iter().flatten() {
        let sidecar = container.value.restart_policy.as_deref() == Some("Always");
        let kind = if sidecar { ContainerKind::Sidecar } else { ContainerKind::Init };
        containers.push(container_of(container, kind)?);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        containers.push(container_of(container, ContainerKind::Ephemeral)?);
    }
    Ok(containers)
}

fn container_of(container: &Spanned<ContainerSpec>, kind: ContainerKind) -> Result<Container, Invalid> {
    let spec = &container.value;
    let Some(name) = spec.name.as_ref().map(|name| name.value.clone()).filter(|name| !name.is_empty()) else {
        return invalid(container.referenced.line(), "the container's name is missing");
    };
    let ports = spec.ports.iter().flatten().map(|port| port_of(&name, port)).collect::<Result<_, _>>()?;
    let image = spec.image.clone().unwrap_or_default();
    Ok(Container { name, image, kind, ports, probes: probes_of(spec)?, ..Container::default() })
}

fn port_of(container: &str, port: &Spanned<Port>) -> Result<DeclaredPort, Invalid> {
    let Some(number) = &port.value.container_port else {
        let problem =
            format!("containerPort is missing in container {container}: expected a number from 1 to 65535");
        return invalid(port.referenced.line(), problem);
    };
    let protocol = protocol_of(port.value.protocol.as_ref())?;
    let host_port = optional_port("hostPort", port.value.host_port.as_ref())?;
    let name = port.value.name.clone();
    Ok(DeclaredPort { name, port: port_number("containerPort", number)?, protocol, host_port })
}

fn probes_of(spec: &ContainerSpec) -> Result<Vec<ProbePort>, Invalid> {
    let hooks = spec.lifecycle.as_ref();
    let calls = [
        (ProbeHandler::Liveness, spec.liveness_probe.as_ref()),
        (ProbeHandler::Readiness, spec.readiness_probe.as_ref()),
        (ProbeHandler::Startup, spec.startup_probe.as_ref()),
        (ProbeHandler::PostStart, hooks.and_then(|hooks| hooks.post_start.as_ref())),
        (ProbeHandler::PreStop, hooks.and_then(|hooks| hooks.pre_stop.as_ref())),
    ];
    let mut probes = Vec::new();
    for (handler, call) in calls {
        let called = call.into_iter().flat_map(|call| [&call.http_get, &call.tcp_socket, &call.grpc]);
        for port in called.flatten().filter_map(|called| called.port.as_ref()) {
            let field = format!("the port of {}", handler.as_str());
            probes.push(ProbePort { handler, port: port_ref(&field, port)? });
        }
    }
    Ok(probes)
}

/// Sets the ids of the containers, and whether they run, from the pod's status.
pub(super) fn apply_status(containers: &mut [Container], status: &Status) {
    let all =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    for status in all.into_iter().flatten().flatten() {
        let named = containers.iter_mut().find(|one| status.name.as_ref() == Some(&one.name));
        let Some(container) = named else { continue };
        container.id = status.container_id.clone().unwrap_or_default();
        container.running = status.state.as_ref().map(|state| state.running.is_some());
    }
}
