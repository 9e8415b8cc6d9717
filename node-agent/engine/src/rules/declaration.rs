//! The declaration status of a port: declared by a container, else explained by something that expects the port, else
//! undeclared. Debug containers never declare, and the protocol must match.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::listener::{Declaration, DeclarationStatus, Explanation};
use crate::model::pod::{Container, ContainerKind, Pod, PortRef, can_declare};
use crate::model::service::{Service, ServicePort};
use crate::rules::explanation::explanations;
use crate::rules::manifests::{Manifests, ServedPort};

/// Returns the containers that declare this port.
#[must_use]
pub(crate) fn declaring(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> Vec<&Container> {
    pod.containers.iter().filter(|container| declares(container, protocol, port)).collect()
}

/// Returns every port that a pod declares; duplicates are possible.
pub(crate) fn declared_ports(pod: &Pod) -> impl Iterator<Item = (Protocol, NonZeroU16)> + '_ {
    let declaring = pod.containers.iter().filter(|container| can_declare(container));
    declaring.flat_map(|container| container.ports.iter().map(|port| (port.protocol, port.port)))
}

/// Returns true if a container of the pod declares the port.
#[must_use]
pub(crate) fn is_declared(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> bool {
    pod.containers.iter().any(|container| declares(container, protocol, port))
}

/// Returns the declared ports that should be served now. Excludes init containers and containers that are known not
/// to run. Duplicates are possible.
pub(crate) fn ought_to_listen(pod: &Pod) -> impl Iterator<Item = (Protocol, NonZeroU16)> + '_ {
    let serving = pod.containers.iter().filter(|container| {
        container.kind != ContainerKind::Init && container.running != Some(false) && can_declare(container)
    });
    serving.flat_map(|container| container.ports.iter().map(|port| (port.protocol, port.port)))
}

/// Returns every port of the pod that a Service sends to; duplicates are possible.
pub(crate) fn service_targets(manifests: Manifests<'_>) -> impl Iterator<Item = (Protocol, NonZeroU16)> {
    targets_of(manifests.pod, manifests.services.iter().map(|(service, _)| &**service))
}

/// Returns every port of the pod that one of these Services sends to.
pub(crate) fn targets_of<'a>(
    pod: &'a Pod,
    services: impl Iterator<Item = &'a Service>,
) -> impl Iterator<Item = (Protocol, NonZeroU16)> {
    resolved_targets(pod, services).filter_map(|(_, entry, port)| Some((entry.protocol, port?)))
}

/// Returns every port of these Services with the port of the pod that it leads to; `None` if the pod has no port of the
/// name. Builds one table of port names, because both sides may have very many.
pub(crate) fn resolved_targets<'a>(
    pod: &'a Pod,
    services: impl Iterator<Item = &'a Service>,
) -> impl Iterator<Item = (&'a Service, &'a ServicePort, Option<NonZeroU16>)> {
    let mut names: HashMap<(Protocol, &str), NonZeroU16> = HashMap::new();
    for port in pod.containers.iter().filter(|container| can_declare(container)).flat_map(|c| &c.ports) {
        if let Some(name) = &port.name {
            names.entry((port.protocol, name)).or_insert(port.port);
        }
    }
    let entries = services.flat_map(|service| service.ports.iter().map(move |entry| (service, entry)));
    entries.map(move |(service, entry)| {
        let port = match &entry.target {
            PortRef::Number(port) => Some(*port),
            PortRef::Name(name) => names.get(&(entry.protocol, name.as_str())).copied(),
        };
        (service, entry, port)
    })
}

/// Returns true if any container maps a port of the node to this one, also a container that does not count for
/// declarations: the mapping of an init container stays after it ended.
#[must_use]
pub(crate) fn has_host_port(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> bool {
    let mut ports = pod.containers.iter().flat_map(|container| &container.ports);
    ports.any(|known| known.protocol == protocol && known.port == port && known.host_port.is_some())
}

/// Returns the declaration status of the port.
#[must_use]
pub(crate) fn status(manifests: Manifests<'_>, served: ServedPort<'_>) -> DeclarationStatus {
    if is_declared(manifests.pod, served.protocol, served.port) {
        DeclarationStatus::Declared
    } else if explanations(manifests, served).next().is_some() {
        DeclarationStatus::Explained
    } else {
        DeclarationStatus::Undeclared
    }
}

/// Returns the declaration as reports show it.
#[must_use]
pub(crate) fn describe(manifests: Option<Manifests<'_>>, served: ServedPort<'_>) -> Declaration {
    let Some(manifests) = manifests else {
        let status = DeclarationStatus::Unknown;
        return Declaration { status, declared_by: Vec::new(), explained_by: Vec::new() };
    };
    let declaring = declaring(manifests.pod, served.protocol, served.port);
    let declared_by: Vec<String> =
        declaring.iter().map(|container| format!("container/{}", container.name)).collect();
    let explanations = explanations(manifests, served);
    let explained_by: Vec<Explanation> =
        explanations.map(|why| why.describe(served.protocol, served.port)).collect();
    let status = match (declared_by.is_empty(), explained_by.is_empty()) {
        (false, _) => DeclarationStatus::Declared,
        (true, false) => DeclarationStatus::Explained,
        (true, true) => DeclarationStatus::Undeclared,
    };
    Declaration { status, declared_by, explained_by }
}

/// Returns true if the container declares the port, and its declarations count.
fn declares(container: &Container, protocol: Protocol, port: NonZeroU16) -> bool {
    can_declare(container)
        && container.ports.iter().any(|declared| declared.protocol == protocol && declared.port == port)
}
