//! What can be dialled to get to a port of a pod: through its Services, the node's ports, and its own addresses.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::{Door, DoorKind};
use crate::change::Exposure;
use crate::identity::Protocol;
use crate::pod::Pod;
use crate::pod_record::PodRecord;
use crate::service::{Service, ServiceKind, ServicePort};

/// Every door to a port of a pod; those of Services first, by name.
pub(super) fn of_pod_port<'a>(
    record: &'a PodRecord,
    protocol: Protocol,
    port: NonZeroU16,
    exposure: Exposure,
) -> impl Iterator<Item = Door> + 'a {
    let pod = &*record.pod;
    let services = record.services.iter().flat_map(move |(service, _)| {
        let entries = service.ports.iter().filter(move |entry| entry.protocol == protocol);
        let entries = entries.filter(move |entry| entry.target_in(pod) == Some(port));
        entries.flat_map(move |entry| of_service_port(service, entry))
    });
    services.chain(host_ports(pod, protocol, port)).chain(own(pod, port, exposure))
}

/// The doors of one port of a Service, the outermost first.
pub(super) fn of_service_port(service: &Arc<Service>, entry: &ServicePort) -> Vec<Door> {
    let door = |kind, addresses, port| Door {
        kind,
        addresses,
        port,
        service: Some((Arc::clone(service), entry.clone())),
    };
    let mut doors = Vec::new();
    let outside = service.outside.as_deref();
    if service.kind == ServiceKind::LoadBalancer {
        let addresses = outside.map(|outside| outside.balancer.clone()).unwrap_or_default();
        doors.push(door(DoorKind::LoadBalancer, addresses, entry.port));
    }
    if let Some(outside) = outside.filter(|outside| !outside.external_ips.is_empty()) {
        doors.push(door(DoorKind::ExternalIp, texts(outside.external_ips.iter().copied()), entry.port));
    }
    if let Some(node_port) = entry.node_port {
        doors.push(door(DoorKind::NodePort, Vec::new(), node_port));
    }
    match service.kind {
        ServiceKind::ExternalName => {}
        ServiceKind::Headless => doors.push(door(DoorKind::Headless, vec![dns_name(service)], entry.port)),
        _ => doors.push(door(DoorKind::ClusterIp, texts(service.cluster_addresses()), entry.port)),
    }
    doors
}

fn dns_name(service: &Service) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

fn host_ports(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> impl Iterator<Item = Door> + '_ {
    let declared = pod.containers.iter().flat_map(|container| &container.ports);
    let declared = declared.filter(move |known| known.protocol == protocol && known.port == port);
    // In the node's own network the hostPort is the port itself.
    let published = declared.filter_map(|known| known.host_port).filter(|_| !pod.host_network);
    published.map(|port| Door { kind: DoorKind::HostPort, addresses: Vec::new(), port, service: None })
}

fn own(pod: &Pod, port: NonZeroU16, exposure: Exposure) -> Option<Door> {
    let door = |kind, addresses| Some(Door { kind, addresses, port, service: None });
    match exposure {
        Exposure::Loopback => door(DoorKind::Loopback, Vec::new()),
        _ if pod.host_network => door(DoorKind::HostNetwork, Vec::new()),
        _ => door(DoorKind::PodAddress, texts(pod.addresses.iter().copied())),
    }
}

fn texts(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    addresses.take(super::MAX_PER_END).map(|address| address.to_string()).collect()
}
