//! Records the addresses that clients dialled, and traces them again when Services or node addresses change.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{BootTime, PortId};
use crate::model::service::Service;
use crate::model::traffic::Dialled;
use crate::state::nat_paths::NatPaths;
use crate::state::service_addresses::leads;

/// Ways in that all ports together keep.
const MAX_ALL_NAT_PATHS: usize = 16_384;

/// Changed Services of which it pays to look which ways they mean.
const FEW_SERVICES: usize = 8;

impl Engine {
    /// Takes in by which address a connection to this port came.
    pub(crate) fn record_nat_path(
        &mut self,
        id: PortId,
        peer: IpAddr,
        dialled: Dialled,
        at: BootTime,
        now: BootTime,
    ) {
        if !self.admit_port(id, now) {
            return;
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        let nat_paths = port.nat_paths.get_or_insert_default();
        let kept = nat_paths.len();
        let is_new = nat_paths.add(peer, dialled, at, MAX_ALL_NAT_PATHS.saturating_sub(self.nat_paths));
        self.nat_paths = self.nat_paths.saturating_sub(kept).saturating_add(nat_paths.len());
        if is_new {
            self.ports_with_nat_paths.insert(id);
            self.dirty.insert(id);
        }
    }

    /// The node has other addresses: what was dialled may be its own, or no longer.
    pub(crate) fn node_addresses_changed(&mut self) {
        for id in &self.ports_with_nat_paths {
            let nat_paths = self.ports.get_mut(id).and_then(|port| port.nat_paths.as_deref_mut());
            nat_paths.into_iter().for_each(NatPaths::retrace);
            self.dirty.insert(*id);
        }
    }

    /// Services changed: what was dialled may be theirs, or no longer.
    pub(crate) fn service_addresses_changed(&mut self, touched: &[Arc<Service>]) {
        for service in touched {
            self.service_addresses.remove(service);
            let known = self.services.get(&service.namespace, &service.name);
            if let Some(now) = known.filter(|now| Arc::ptr_eq(now, service)) {
                self.service_addresses.add(now);
            }
        }
        for id in &self.ports_with_nat_paths {
            let Some(port) = self.ports.get_mut(id) else { continue };
            let Some(nat_paths) = port.nat_paths.as_deref_mut() else { continue };
            let is_meant = touched.len() > FEW_SERVICES
                || nat_paths
                    .paths()
                    .any(|path| touched.iter().any(|service| leads(service, path.dialled.to)));
            if is_meant {
                nat_paths.retrace();
                self.dirty.insert(*id);
            }
        }
    }
}
