//! What a client can dial to reach a port of a pod: its Services, ports of the node, and its own addresses.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::Protocol;
use crate::model::listener::Exposure;
use crate::model::pod::Pod;
use crate::model::service::{Service, ServiceKind, ServicePort};
use crate::read::explain::answer::{EntryPoint, EntryPointKind, MAX_PER_END};
use crate::state::pod_record::PodRecord;

/// Every door to a port of a pod; those of Services first, by name.
pub(crate) fn of_pod_port<'a>(
    record: &'a PodRecord,
    protocol: Protocol,
    port: NonZeroU16,
    exposure: Exposure,
) -> impl Iterator<Item = EntryPoint> + 'a {
    let pod = &*record.pod;
    let services = record.services.iter().flat_map(move |(service, _)| {
        let entries = service.ports.iter().filter(move |entry| entry.protocol == protocol);
        let entries = entries.filter(move |entry| entry.target_in(pod) == Some(port));
        entries.flat_map(move |entry| of_service_port(service, entry))
    });
    services.chain(host_ports(pod, protocol, port)).chain(own(pod, port, exposure))
}

/// The doors of one port of a Service, the outermost first.
pub(crate) fn of_service_port(service: &Arc<Service>, entry: &ServicePort) -> Vec<EntryPoint> {
    let entry_point = |kind, addresses, port| EntryPoint {
        kind,
        addresses,
        port,
        service: Some((Arc::clone(service), entry.clone())),
    };
    let mut entry_points = Vec::new();
    let outside = service.outside.as_deref();
    if service.kind == ServiceKind::LoadBalancer {
        let addresses = outside.map(|outside| outside.balancer.clone()).unwrap_or_default();
        entry_points.push(entry_point(EntryPointKind::LoadBalancer, addresses, entry.port));
    }
    if let Some(outside) = outside.filter(|outside| !outside.external_ips.is_empty()) {
        entry_points.push(entry_point(
            EntryPointKind::ExternalIp,
            texts(outside.external_ips.iter().copied()),
            entry.port,
        ));
    }
    if let Some(node_port) = entry.node_port {
        entry_points.push(entry_point(EntryPointKind::NodePort, Vec::new(), node_port));
    }
    match service.kind {
        ServiceKind::ExternalName => {}
        ServiceKind::Headless => {
            entry_points.push(entry_point(EntryPointKind::Headless, vec![dns_name(service)], entry.port))
        }
        _ => entry_points.push(entry_point(
            EntryPointKind::ClusterIp,
            texts(service.cluster_addresses()),
            entry.port,
        )),
    }
    entry_points
}

fn dns_name(service: &Service) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

fn host_ports(pod: &Pod, protocol: Protocol, port: NonZeroU16) -> impl Iterator<Item = EntryPoint> + '_ {
    let declared = pod.containers.iter().flat_map(|container| &container.ports);
    let declared = declared.filter(move |known| known.protocol == protocol && known.port == port);
    // In the node's own network the hostPort is the port itself.
    let published = declared.filter_map(|known| known.host_port).filter(|_| !pod.host_network);
    published.map(|port| EntryPoint {
        kind: EntryPointKind::HostPort,
        addresses: Vec::new(),
        port,
        service: None,
    })
}

fn own(pod: &Pod, port: NonZeroU16, exposure: Exposure) -> Option<EntryPoint> {
    let entry_point = |kind, addresses| Some(EntryPoint { kind, addresses, port, service: None });
    match exposure {
        Exposure::Loopback => entry_point(EntryPointKind::Loopback, Vec::new()),
        _ if pod.host_network => entry_point(EntryPointKind::HostNetwork, Vec::new()),
        _ => entry_point(EntryPointKind::PodAddress, texts(pod.addresses.iter().copied())),
    }
}

fn texts(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    addresses.take(MAX_PER_END).map(|address| address.to_string()).collect()
}
