//! Queries: listeners, findings, connections, pods, Services and what is known of a netns or port.

use std::sync::Arc;

use crate::engine::Engine;
use crate::model::connection::Connection;
use crate::model::finding::Finding;
use crate::model::fingerprint::parse;
use crate::model::identity::{NetnsId, PodUid, PortId};
use crate::model::listener::{Listener, ListenerState};
use crate::model::namespace::Namespace;
use crate::model::pod::{Pod, PodRef};
use crate::model::service::Service;
use crate::read::render;

impl Engine {
    /// Returns the open listeners.
    pub fn listeners(&self) -> impl Iterator<Item = Arc<Listener>> + '_ {
        let reported = self.ports.iter().filter(|(_, port)| port.reported.is_some());
        reported.map(|(id, port)| Arc::new(render::listener(&self.facts, id, port, ListenerState::Open)))
    }

    /// Returns the open listeners of UDP ports that may be clients'.
    pub fn unproven_listeners(&self) -> impl Iterator<Item = Arc<Listener>> + '_ {
        let reported = self.ports.iter().filter(|(_, port)| port.reported.is_some() && port.unproven);
        reported.map(|(id, port)| Arc::new(render::listener(&self.facts, id, port, ListenerState::Open)))
    }

    /// Returns the open and suppressed findings.
    pub fn findings(&self) -> impl Iterator<Item = Arc<Finding>> + '_ {
        self.findings
            .iter()
            .filter_map(|(id, record)| render::finding(&self.facts, &self.ports, id, record).map(Arc::new))
    }

    /// Returns the pods of this node that are alive, in any order.
    pub fn live_pods(&self) -> impl Iterator<Item = &Arc<Pod>> + '_ {
        self.facts.pods.live().map(|(_, record)| &record.pod).filter(|pod| !pod.draining)
    }

    /// Returns the pod with this UID (its own, or its mirror's), and the UID that the API server has for it; `None`
    /// if the API server does not know the pod.
    #[must_use]
    pub fn at_server(&self, uid: &PodUid) -> Option<(Arc<PodRef>, PodUid)> {
        let (record, uid) = self.facts.pods.at_server(uid)?;
        Some((Arc::clone(&record.reference), uid.clone()))
    }

    /// Returns true if a source has reported this netns.
    #[must_use]
    pub fn knows_netns(&self, netns: NetnsId) -> bool {
        self.facts.netns.facts(netns).is_some()
    }

    /// Returns the number of ports in the table, reported or not.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Returns true if the port is in the table.
    #[must_use]
    pub fn knows_port(&self, port: PortId) -> bool {
        self.ports.contains(port) || self.facts.awaits(port)
    }

    /// Returns the number of remembered netns, including ended ones.
    #[must_use]
    pub fn remembered_netns(&self) -> usize {
        self.facts.netns.len()
    }

    /// Returns the open or suppressed finding with this id.
    #[must_use]
    pub fn finding(&self, id: &str) -> Option<Arc<Finding>> {
        self.finding_by_id(parse(id)?)
    }

    /// Returns the open listener with this id.
    #[must_use]
    pub fn listener(&self, id: &str) -> Option<Arc<Listener>> {
        self.listener_by_id(parse(id)?)
    }

    /// Returns the recorded connections, latest first.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.facts.connections.iter()
    }

    /// Returns the pod with this name, unless it was deleted.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let record = self.facts.pods.get(self.facts.pods.by_name(namespace, name)?)?;
        record.departed.is_none().then(|| Arc::clone(&record.pod))
    }

    /// Returns a namespace's metadata, if a source has reported it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.facts.namespaces.get(name)
    }

    /// Returns every known Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.facts.services.iter()
    }

    /// Returns a counter that grows whenever a query may show something else.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.outbox.generation()
    }
}
