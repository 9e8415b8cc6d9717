//! What a pod's manifest says about a port: containers and sidecars declare, init and debug containers do not, and the
//! protocol must match.

use std::num::NonZeroU16;

use super::change::{Declaration, DeclarationStatus};
use super::identity::Protocol;
use super::pod::{Container, ContainerKind, Pod};

/// The containers that declare this port.
#[must_use]
pub fn declaring(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> Vec<&Container> {
    pod.containers.iter().filter(|container| declares(container, protocol, port)).collect()
}

/// Every port that a pod declares; a port may come twice.
pub fn declared_ports(pod: &Pod) -> impl Iterator<Item = (Protocol, NonZeroU16)> + '_ {
    let declaring = pod.containers.iter().filter(|container| can_declare(container.kind));
    declaring.flat_map(|container| container.ports.iter().map(|port| (port.protocol, port.port)))
}

/// True if a container of the pod declares the port.
#[must_use]
pub fn is_declared(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> bool {
    pod.containers.iter().any(|container| declares(container, protocol, port))
}

/// The declaration as reports show it.
#[must_use]
pub fn describe(pod: Option<&Pod>, declaring: &[&Container]) -> Declaration {
    let status = match (pod, declaring) {
        (None, _) => DeclarationStatus::Unknown,
        (Some(_), []) => DeclarationStatus::Undeclared,
        (Some(_), _) => DeclarationStatus::Declared,
    };
    let declared_by = declaring.iter().map(|container| format!("container/{}", container.name)).collect();
    Declaration { status, declared_by, explained_by: Vec::new() }
}

fn declares(container: &Container, protocol: Protocol, port: NonZeroU16) -> bool {
    can_declare(container.kind)
        && container.ports.iter().any(|declared| declared.protocol == protocol && declared.port == port)
}

const fn can_declare(kind: ContainerKind) -> bool {
    matches!(kind, ContainerKind::Regular | ContainerKind::Sidecar)
}
