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

impl Engine {
    /// The listeners that were printed and not closed.
    pub fn listeners(&self) -> impl Iterator<Item = Arc<Listener>> + '_ {
        let reported = self.ports.iter().filter(|(_, port)| port.reported.is_some());
        reported.map(|(id, port)| Arc::new(self.render_listener(*id, port, ListenerState::Open)))
    }

    /// The findings that are open or suppressed.
    pub fn findings(&self) -> impl Iterator<Item = Arc<Finding>> + '_ {
        self.findings.iter().filter_map(|(id, record)| self.render_finding(id, record).map(Arc::new))
    }

    /// The pod of a UID (its own, or its mirror's), and the UID that the API server has for it; `None` where the API server
    /// does not know it.
    #[must_use]
    pub fn at_server(&self, uid: &PodUid) -> Option<(Arc<PodRef>, PodUid)> {
        let (record, uid) = self.pods.at_server(uid)?;
        Some((Arc::clone(&record.reference), uid.clone()))
    }

    /// Whether a netns source has told of this netns.
    #[must_use]
    pub fn knows_netns(&self, netns: NetnsId) -> bool {
        self.netns.facts(netns).is_some()
    }

    /// How many ports are kept, told or not.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Whether this port is kept.
    #[must_use]
    pub fn knows_port(&self, port: PortId) -> bool {
        self.ports.contains_key(&port)
    }

    /// How many netns are remembered, those that ended included.
    #[must_use]
    pub fn remembered_netns(&self) -> usize {
        self.netns.len()
    }

    /// The open or suppressed finding with this id.
    #[must_use]
    pub fn finding(&self, id: &str) -> Option<Arc<Finding>> {
        self.finding_by_id(parse(id)?)
    }

    /// The open listener with this id.
    #[must_use]
    pub fn listener(&self, id: &str) -> Option<Arc<Listener>> {
        self.listener_by_id(parse(id)?)
    }

    /// Recorded connections, latest first.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.iter()
    }

    /// The pod of that name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let record = self.pods.get(self.pods.by_name(namespace, name)?)?;
        record.departed.is_none().then(|| Arc::clone(&record.pod))
    }

    /// A namespace's metadata, if a source told it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// Every Service that was told.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Grows with everything that a question could show differently.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}
