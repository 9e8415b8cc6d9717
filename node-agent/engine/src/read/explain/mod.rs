//! Explains how traffic reaches a pod, a port, a Service or a port of the node: through which entry points, to which
//! pod, container and process. Built from the state on request; every list is bounded and marks truncation.

pub mod answer;
mod ends;
mod entry_points;
mod lookup;
mod sentences;
pub mod target;

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::model::service::ServiceKind;
use crate::read::explain::answer::{ExplainError, Explained};
use crate::read::explain::target::Target;
use crate::read::message::safe;
use crate::state::netns::Netns;

impl Engine {
    /// Explains how traffic reaches the target.
    ///
    /// # Errors
    /// Returns [`ExplainError`] if the target names nothing on this node, or several objects.
    pub fn explain(&self, target: &Target) -> Result<Explained, ExplainError> {
        let mut builder = ends::AnswerBuilder::new(self, target);
        match target {
            Target::Pod { named, port } => builder.follow_pod(named, port.as_ref())?,
            Target::Service { named, port } => builder.follow_service(named, port.as_ref())?,
            Target::NodePort { port, protocol } => builder.follow_node_port(*port, *protocol),
        }
        let host = self.facts.netns.host().and_then(|netns| self.facts.netns.get(netns));
        let found = builder.explained();
        let visibility = sentences::Visibility {
            services: self.facts.services.known(),
            host_sockets: host.is_some_and(Netns::is_scanned),
            without_selector: self.services_without_selector(&found),
        };
        Ok(sentences::complete(found, visibility))
    }

    /// Returns the Services without a selector in the namespaces of the found pods, as `NAMESPACE/NAME`, at most
    /// [`sentences::MAX_DESCRIBED`]. The API server writes the endpoints of its own Service, which lead to no such pod.
    fn services_without_selector(&self, found: &Explained) -> Vec<String> {
        let namespaces: BTreeSet<&str> = found.pods.iter().map(|step| step.pod.namespace.as_str()).collect();
        let others = self.facts.services.iter().filter(|service| {
            service.selector.is_empty()
                && service.kind != ServiceKind::ExternalName
                && namespaces.contains(service.namespace.as_str())
                && (service.namespace.as_str(), service.name.as_str()) != ("default", "kubernetes")
        });
        let named = others.map(|service| format!("{}/{}", safe(&service.namespace), safe(&service.name)));
        named.take(sentences::MAX_DESCRIBED).collect()
    }
}
