//! How far the traffic that a port served came from.

/// How far the callers that a port served are away; ordered from none to farthest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// No traffic was served.
    #[default]
    Nothing,
    /// The pod itself or its node.
    Node,
    /// Another pod.
    InCluster,
    /// A pod, through an address that also leads in from outside the cluster.
    Published,
    /// A caller outside the cluster.
    External,
}
