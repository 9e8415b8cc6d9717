//! Whose an address is that a client dialled instead of the pod's own: a Service's, or the node's with a port that leads on.
//! What connections tell of this changes the state here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::change::{Door, Origin, Via};
use super::identity::{BootTime, PortId, Protocol};
use super::input::Dialled;
use super::origin::Serving;
use super::pod_index::PodKey;
use super::port::Port;
use super::service::{Service, ServicePort};
use super::traffic::Place;
use super::way_in::{Traced, Way, WaysIn};

/// Ways in that all ports together keep.
const MAX_ALL_WAYS: usize = 16_384;
/// Changed Services of which it pays to look which ways they mean.
const FEW: usize = 8;

/// Services by what a client may dial.
#[derive(Debug, Default)]
pub struct Doors {
    by_address: HashMap<IpAddr, Vec<Arc<Service>>>,
    by_node_port: HashMap<(Protocol, u16), Vec<Arc<Service>>>,
}

impl Doors {
    pub fn add(&mut self, service: &Arc<Service>) {
        for address in &service.addresses {
            self.by_address.entry(*address).or_default().push(Arc::clone(service));
        }
        for port in node_ports(service) {
            self.by_node_port.entry(port).or_default().push(Arc::clone(service));
        }
    }

    pub fn remove(&mut self, service: &Arc<Service>) {
        for address in &service.addresses {
            forget(&mut self.by_address, address, service);
        }
        for port in node_ports(service) {
            forget(&mut self.by_node_port, &port, service);
        }
    }

    /// The Service with this address and port.
    fn service(&self, (address, port): (IpAddr, u16), protocol: Protocol) -> Option<&Service> {
        let named = |entry: &ServicePort| entry.port.get() == port && entry.protocol == protocol;
        let serving = self.by_address.get(&address)?.iter().filter(|service| service.ports.iter().any(named));
        first(serving)
    }

    fn node_port(&self, port: u16, protocol: Protocol) -> Option<&Service> {
        first(self.by_node_port.get(&(protocol, port))?.iter())
    }
}

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

/// Several Services may share an address; whoever is told last must not decide.
fn first<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Option<&'a Service> {
    services.map(Arc::as_ref).min_by_key(|service| (&service.namespace, &service.name))
}

impl Engine {
    /// Takes in by which address a connection to this port came.
    pub(super) fn came_by(
        &mut self,
        id: PortId,
        peer: IpAddr,
        dialled: Dialled,
        at: BootTime,
        now: BootTime,
    ) {
        if !self.make_room(id, now) {
            return;
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        let ways = port.ways.get_or_insert_default();
        let kept = ways.len();
        let is_new = ways.add(peer, dialled, at, MAX_ALL_WAYS.saturating_sub(self.ways));
        self.ways = self.ways.saturating_sub(kept).saturating_add(ways.len());
        if is_new {
            self.entered.insert(id);
            self.dirty.insert(id);
        }
    }

    /// Brings up to date by which ways callers came; says when to look again.
    pub(super) fn settle_ways(&self, id: PortId, port: &mut Port, now: BootTime) {
        let pod = port.pod;
        let Some(ways) = port.ways.as_deref_mut() else { return };
        if ways.settle(now, self.options.attribution_hold, &|way: &Way| {
            self.trace(id, pod, way.peer, way.dialled)
        }) {
            port.traffic.place_again(id.protocol, ways);
        }
    }

    /// Where a peer of a port is, by its address and by the ways in that are known.
    pub(super) fn place(&self, peer: IpAddr, serving: Serving<'_>, ways: Option<&WaysIn>) -> Place {
        let by_address = self.addresses.origin(peer, serving, &self.pods);
        match ways {
            Some(ways) => ways.place(peer, by_address),
            None => by_address,
        }
    }

    /// What it means that a client dialled so.
    pub(super) fn trace(&self, id: PortId, pod: Option<PodKey>, peer: IpAddr, dialled: Dialled) -> Traced {
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let (origin, reference) = match dialled.from {
            // What goes through the node's rules is the node's loopback.
            from if from.is_loopback() => (Origin::Node, None),
            from => self.addresses.origin(from, Serving { pod, facts }, &self.pods),
        };
        let (door, service) = self.door(id, pod, dialled.to);
        let via = Via {
            address: dialled.to.0,
            port: dialled.to.1,
            door,
            reference: service.map(|service| format!("{}/{}", service.namespace, service.name)),
            client: (dialled.from != peer).then_some(dialled.from),
        };
        let origin = if origin == Origin::Pod { Origin::Service } else { origin };
        Traced { origin, reference, via: Arc::new(via) }
    }

    fn door(&self, id: PortId, pod: Option<PodKey>, to: (IpAddr, u16)) -> (Door, Option<&Service>) {
        if let Some(service) = self.doors.service(to, id.protocol) {
            return (kind_of_address(service, to.0), Some(service));
        }
        if !to.0.is_loopback() && !self.addresses.is_node(to.0) {
            return (Door::Unknown, None);
        }
        if let Some(service) = self.doors.node_port(to.1, id.protocol) {
            return (Door::NodePort, Some(service));
        }
        let containers = pod.and_then(|pod| self.pods.get(pod)).map(|record| &record.pod.containers);
        let mut ports = containers.into_iter().flatten().flat_map(|container| &container.ports);
        let is_host_port = ports.any(|port| {
            port.protocol == id.protocol && port.host_port.is_some_and(|port| port.get() == to.1)
        });
        (if is_host_port { Door::HostPort } else { Door::NodeAddress }, None)
    }

    /// The node has other addresses: what was dialled may be its own, or no longer.
    pub(super) fn node_changed(&mut self) {
        for id in &self.entered {
            let ways = self.ports.get_mut(id).and_then(|port| port.ways.as_deref_mut());
            ways.into_iter().for_each(WaysIn::trace_again);
            self.dirty.insert(*id);
        }
    }

    /// Services changed: what was dialled may be theirs, or no longer.
    pub(super) fn doors_changed(&mut self, touched: &[Arc<Service>]) {
        for service in touched {
            self.doors.remove(service);
            let known = self.services.get(&service.namespace, &service.name);
            if let Some(now) = known.filter(|now| Arc::ptr_eq(now, service)) {
                self.doors.add(now);
            }
        }
        for id in &self.entered {
            let Some(port) = self.ports.get_mut(id) else { continue };
            let Some(ways) = port.ways.as_deref_mut() else { continue };
            let is_meant = touched.len() > FEW
                || ways.ways().any(|way| touched.iter().any(|service| leads(service, way.dialled.to)));
            if is_meant {
                ways.trace_again();
                self.dirty.insert(*id);
            }
        }
    }
}

fn leads(service: &Service, to: (IpAddr, u16)) -> bool {
    service.addresses.contains(&to.0) || node_ports(service).any(|(_, port)| port == to.1)
}

fn kind_of_address(service: &Service, address: IpAddr) -> Door {
    let Some(outside) = &service.outside else { return Door::ClusterIp };
    if outside.external_ips.contains(&address) {
        Door::ExternalIp
    } else if service.cluster_addresses().any(|known| known == address) {
        Door::ClusterIp
    } else {
        Door::LoadBalancer
    }
}
