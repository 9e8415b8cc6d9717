//! How far the traffic that a port served came from.

/// How far the callers that a port served are away; ordered from none to farthest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
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

impl Reach {
    /// Every reach, in the order of their `Ord`.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Node, Self::InCluster, Self::Published, Self::External];

    /// Returns the name that reports and the agent's state file use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Node => "node",
            Self::InCluster => "pod",
            Self::Published => "published",
            Self::External => "external",
        }
    }

    /// Parses the name that [`Self::as_str`] returns.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reach| reach.as_str() == text)
    }
}
