//! Explains how traffic reaches a pod, a port, a Service or a port of the node: through which entry points, to which
//! pod, container and process. Built from the state on request; every list is bounded and marks truncation.

pub mod answer;
mod ends;
mod entry_points;
mod lookup;
mod sentences;
pub mod target;

use crate::engine::Engine;
use crate::read::explain::answer::{ExplainError, Explained};
use crate::read::explain::target::Target;
use crate::state::netns::Netns;

impl Engine {
    /// The whole way in to what is asked for.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub fn explain(&self, target: &Target) -> Result<Explained, ExplainError> {
        let mut builder = ends::AnswerBuilder::new(self, target);
        match target {
            Target::Pod { named, port } => builder.follow_pod(named, port.as_ref())?,
            Target::Service { named, port } => builder.follow_service(named, port.as_ref())?,
            Target::NodePort { port, protocol } => builder.follow_node_port(*port, *protocol),
        }
        let host = self.netns.host().and_then(|netns| self.netns.get(netns));
        let visibility = sentences::Visibility {
            services: self.services.known(),
            host_sockets: host.is_some_and(Netns::is_scanned),
        };
        Ok(sentences::complete(builder.explained(), visibility))
    }
}
