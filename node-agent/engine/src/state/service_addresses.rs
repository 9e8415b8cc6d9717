//! Services indexed by the addresses and node ports that clients dial.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::identity::Protocol;
use crate::model::service::{Service, ServicePort};
use crate::model::traffic::ViaKind;

/// Services by what a client may dial.
#[derive(Debug, Default)]
pub(crate) struct ServiceAddresses {
    by_address: HashMap<IpAddr, Vec<Arc<Service>>>,
    by_node_port: HashMap<(Protocol, u16), Vec<Arc<Service>>>,
    by_health_check: HashMap<NonZeroU16, Vec<Arc<Service>>>,
}

impl ServiceAddresses {
    pub(crate) fn add(&mut self, service: &Arc<Service>) {
        for address in &service.addresses {
            self.by_address.entry(*address).or_default().push(Arc::clone(service));
        }
        for port in node_ports(service) {
            self.by_node_port.entry(port).or_default().push(Arc::clone(service));
        }
        if let Some(port) = service.health_check() {
            self.by_health_check.entry(port).or_default().push(Arc::clone(service));
        }
    }

    pub(crate) fn remove(&mut self, service: &Arc<Service>) {
        for address in &service.addresses {
            forget(&mut self.by_address, address, service);
        }
        for port in node_ports(service) {
            forget(&mut self.by_node_port, &port, service);
        }
        if let Some(port) = service.health_check() {
            forget(&mut self.by_health_check, &port, service);
        }
    }

    /// Returns the Service with this address and port.
    pub(crate) fn service(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> Option<&Service> {
        let named = |entry: &ServicePort| entry.port.get() == port && entry.protocol == protocol;
        let serving = self.by_address.get(&address)?.iter().filter(|service| service.ports.iter().any(named));
        first(serving)
    }

    /// Returns the Service whose health a load balancer asks for at this port of the node. It asks over TCP.
    pub(crate) fn health_check(&self, protocol: Protocol, port: NonZeroU16) -> Option<&Service> {
        let known = self.by_health_check.get(&port).filter(|_| protocol == Protocol::Tcp);
        first(known?.iter())
    }

    /// Returns the Service with this NodePort.
    pub(crate) fn node_port(&self, port: u16, protocol: Protocol) -> Option<&Service> {
        first(self.by_node_port.get(&(protocol, port))?.iter())
    }
}

/// Returns the NodePorts of a Service.
fn node_ports(service: &Service) -> impl Iterator<Item = (Protocol, u16)> + '_ {
    service.ports.iter().filter_map(|port| Some((port.protocol, port.node_port?.get())))
}

fn forget<K: std::hash::Hash + Eq>(
    index: &mut HashMap<K, Vec<Arc<Service>>>,
    key: &K,
    service: &Arc<Service>,
) {
    if let Some(listed) = index.get_mut(key) {
        listed.retain(|known| !Arc::ptr_eq(known, service));
        if listed.is_empty() {
            index.remove(key);
        }
    }
}

/// Returns the first of several Services that share an address, by name. The order in which they arrived must not
/// decide.
fn first<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Option<&'a Service> {
    services.map(Arc::as_ref).min_by_key(|service| (&service.namespace, &service.name))
}

/// Returns true if the address may be one of the Service's.
pub(crate) fn leads(service: &Service, to: (IpAddr, u16)) -> bool {
    service.addresses.contains(&to.0) || node_ports(service).any(|(_, port)| port == to.1)
}

/// Returns what an address of the Service is.
pub(crate) fn kind_of_address(service: &Service, address: IpAddr) -> ViaKind {
    let Some(outside) = &service.outside else { return ViaKind::ClusterIp };
    if outside.external_ips.contains(&address) {
        ViaKind::ExternalIp
    } else if service.cluster_addresses().any(|known| known == address) {
        ViaKind::ClusterIp
    } else {
        ViaKind::LoadBalancer
    }
}
