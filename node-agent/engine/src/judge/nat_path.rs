//! What it means for a peer's origin that a client dialled a translated address.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{BootTime, PodKey, PortId};
use crate::model::service::Service;
use crate::model::traffic::{Dialled, Origin, PeerOrigin, Via, ViaKind};
use crate::state::addresses::Serving;
use crate::state::nat_paths::{NatPath, NatPaths, TracedPath};
use crate::state::port::Port;
use crate::state::service_addresses::kind_of_address;

impl Engine {
    /// Brings up to date by which ways callers came; says when to look again.
    pub(crate) fn settle_nat_paths(&self, id: PortId, port: &mut Port, now: BootTime) {
        let pod = port.pod;
        let Some(nat_paths) = port.nat_paths.as_deref_mut() else { return };
        if nat_paths.settle(now, self.options.attribution_hold, &|path: &NatPath| {
            self.trace(id, pod, path.peer, path.dialled)
        }) {
            port.traffic.apply_nat_paths(id.protocol, nat_paths);
        }
    }

    /// Where a peer of a port is, by its address and by the ways in that are known.
    pub(crate) fn peer_origin(
        &self,
        peer: IpAddr,
        serving: Serving<'_>,
        nat_paths: Option<&NatPaths>,
    ) -> PeerOrigin {
        let by_address = self.addresses.origin(peer, serving, &self.pods);
        match nat_paths {
            Some(nat_paths) => nat_paths.origin_of(peer, by_address),
            None => by_address,
        }
    }

    /// What it means that a client dialled so.
    pub(crate) fn trace(
        &self,
        id: PortId,
        pod: Option<PodKey>,
        peer: IpAddr,
        dialled: Dialled,
    ) -> TracedPath {
        let facts = self.netns.facts(id.netns).map(Arc::as_ref);
        let (origin, reference) = match dialled.from {
            // What goes through the node's rules is the node's loopback.
            from if from.is_loopback() => (Origin::Node, None),
            from => self.addresses.origin(from, Serving { pod, facts }, &self.pods),
        };
        let (via_kind, service) = self.via_kind(id, pod, dialled.to);
        let via = Via {
            address: dialled.to.0,
            port: dialled.to.1,
            kind: via_kind,
            reference: service.map(|service| format!("{}/{}", service.namespace, service.name)),
            client: (dialled.from != peer).then_some(dialled.from),
        };
        let origin = if origin == Origin::Pod { Origin::Service } else { origin };
        TracedPath { origin, reference, via: Arc::new(via) }
    }

    fn via_kind(&self, id: PortId, pod: Option<PodKey>, to: (IpAddr, u16)) -> (ViaKind, Option<&Service>) {
        if let Some(service) = self.service_addresses.service(to, id.protocol) {
            return (kind_of_address(service, to.0), Some(service));
        }
        if !to.0.is_loopback() && !self.addresses.is_node(to.0) {
            return (ViaKind::Unknown, None);
        }
        if let Some(service) = self.service_addresses.node_port(to.1, id.protocol) {
            return (ViaKind::NodePort, Some(service));
        }
        let containers = pod.and_then(|pod| self.pods.get(pod)).map(|record| &record.pod.containers);
        let mut ports = containers.into_iter().flatten().flat_map(|container| &container.ports);
        let is_host_port = ports.any(|port| {
            port.protocol == id.protocol && port.host_port.is_some_and(|port| port.get() == to.1)
        });
        (if is_host_port { ViaKind::HostPort } else { ViaKind::NodeAddress }, None)
    }
}
