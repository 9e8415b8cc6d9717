//! Determines the origin of a peer that dialled a translated address.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::{PodKey, PortId};
use crate::model::service::Service;
use crate::model::traffic::{Dialled, Origin, PeerOrigin, Via, ViaKind};
use crate::state::addresses::Serving;
use crate::state::facts::Facts;
use crate::state::nat_paths::{NatPaths, TracedPath};
use crate::state::service_addresses::kind_of_address;

/// Classifies a peer of a port by its address and by the known NAT paths.
pub(crate) fn peer_origin(
    facts: &Facts,
    peer: IpAddr,
    serving: Serving<'_>,
    nat_paths: Option<&NatPaths>,
) -> PeerOrigin {
    let by_address = facts.addresses.origin(peer, serving, &facts.pods);
    match nat_paths {
        Some(nat_paths) => nat_paths.origin_of(peer, by_address),
        None => by_address,
    }
}

/// Resolves the client of a translated connection, and the owner of the address that it dialled.
pub(crate) fn trace(
    facts: &Facts,
    id: PortId,
    pod: Option<PodKey>,
    peer: IpAddr,
    dialled: Dialled,
) -> TracedPath {
    let (origin, reference) = match dialled.from {
        // Loopback that passes the node's NAT rules is the node's loopback.
        from if from.is_loopback() => (Origin::Node, None),
        from => facts.addresses.origin(from, facts.serving(id.netns, pod), &facts.pods),
    };
    let (kind, service) = via_kind(facts, id, pod, dialled.to);
    let via = Via {
        address: dialled.to.0,
        port: dialled.to.1,
        kind,
        reference: service.map(|service| format!("{}/{}", service.namespace, service.name)),
        client: (dialled.from != peer).then_some(dialled.from),
    };
    let origin = if origin == Origin::Pod { Origin::Service } else { origin };
    TracedPath { origin, reference, via: Arc::new(via) }
}

/// Returns what a dialled address belongs to, with its Service.
fn via_kind(
    facts: &Facts,
    id: PortId,
    pod: Option<PodKey>,
    to: (IpAddr, u16),
) -> (ViaKind, Option<&Service>) {
    if let Some(service) = facts.service_addresses.service(to, id.protocol) {
        return (kind_of_address(service, to.0), Some(service));
    }
    if !to.0.is_loopback() && !facts.addresses.is_node(to.0) {
        return (ViaKind::Unknown, None);
    }
    if let Some(service) = facts.service_addresses.node_port(to.1, id.protocol) {
        return (ViaKind::NodePort, Some(service));
    }
    let containers = pod.and_then(|pod| facts.pods.get(pod)).map(|record| &record.pod.containers);
    let mut ports = containers.into_iter().flatten().flat_map(|container| &container.ports);
    let is_host_port = ports
        .any(|port| port.protocol == id.protocol && port.host_port.is_some_and(|port| port.get() == to.1));
    (if is_host_port { ViaKind::HostPort } else { ViaKind::NodeAddress }, None)
}
