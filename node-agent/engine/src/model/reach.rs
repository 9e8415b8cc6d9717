//! How far the traffic that a port served came from.

/// From how far traffic that was served came; ordered from nothing to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    #[default]
    Nothing,
    /// The pod itself or its node.
    Node,
    InCluster,
    /// A pod, by an address that leads in from outside as well.
    Published,
    External,
}
