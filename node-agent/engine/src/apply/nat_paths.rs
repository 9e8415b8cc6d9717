//! Records the addresses that clients dialled, and traces them again when Services or node addresses change.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{BootTime, PortId, Protocol};
use crate::model::service::Service;
use crate::model::traffic::Dialled;
use crate::state::nat_paths::NatPaths;
use crate::state::service_addresses::leads;

/// Number of changed Services up to which the affected paths are looked up one by one. Above it, all are traced again.
const FEW_SERVICES: usize = 8;

impl Engine {
    /// Records through which address a peer reached a port, and schedules the port if that is new.
    pub(crate) fn record_nat_path(
        &mut self,
        id: PortId,
        peer: IpAddr,
        dialled: Dialled,
        at: BootTime,
        now: BootTime,
    ) {
        if self.admit_port(id, now) && self.ports.add_nat_path(id, peer, dialled, at) {
            self.agenda.judge(id);
        }
    }

    /// The node's addresses changed: any dialled address may be the node's now, or no longer.
    pub(crate) fn node_addresses_changed(&mut self) {
        self.agenda.judge_all(self.ports.retrace_nat_paths(|_| true));
    }

    /// Services changed: the addresses that they have or had may belong to others now.
    pub(crate) fn service_addresses_changed(&mut self, touched: &[Arc<Service>]) {
        for service in touched {
            self.facts.service_addresses.remove(service);
            let known = self.facts.services.get(&service.namespace, &service.name);
            if let Some(now) = known.filter(|now| Arc::ptr_eq(now, service)) {
                self.facts.service_addresses.add(now);
            }
        }
        self.judge_health_checks(touched);
        let is_affected = |paths: &NatPaths| {
            touched.len() > FEW_SERVICES
                || paths.paths().any(|path| touched.iter().any(|service| leads(service, path.dialled.to)))
        };
        self.agenda.judge_all(self.ports.retrace_nat_paths(is_affected));
    }
    /// Judges the ports of the node's network that these Services announce, or announced, for health checks.
    fn judge_health_checks(&mut self, touched: &[Arc<Service>]) {
        let Some(netns) = self.facts.netns.host() else { return };
        let checked = touched.iter().filter_map(|service| service.health_check());
        let ids = checked.map(|port| PortId { netns, protocol: Protocol::Tcp, port });
        let known: Vec<PortId> = ids.filter(|id| self.ports.contains(*id)).collect();
        self.agenda.judge_all(known);
    }
}
