//! Names of the node and the cluster of an agent. Every object that it writes has them.

use std::sync::Arc;

/// Node and cluster of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Name of the node.
    pub node: Arc<str>,
    /// Name of the cluster; `None` if nobody named it.
    pub cluster: Option<Arc<str>>,
}

impl From<&str> for AgentIdentity {
    /// Returns the identity of an agent in a cluster without a name.
    fn from(node: &str) -> Self {
        Self { node: node.into(), cluster: None }
    }
}
