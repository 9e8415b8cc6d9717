//! What NetworkPolicies say about a port, as reports show it.

/// What NetworkPolicies say about a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The summary.
    pub verdict: PolicyVerdict,
    /// `NAMESPACE/NAME` of the policies that the verdict rests on, sorted; the first [`Policy::MAX_NAMED`] of them.
    pub policies: Vec<String>,
    /// Number of further policies.
    pub unnamed: usize,
}

impl Policy {
    /// Maximum number of policies that are named. Hundreds of policies may select a pod with thousands of ports, and one
    /// change of them reports every port.
    pub const MAX_NAMED: usize = 16;
}

/// Whether NetworkPolicies admit callers to a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyVerdict {
    /// The pod is isolated, and a rule admits the port from somewhere.
    Open,
    /// The pod is isolated, and no rule admits the port.
    Blocked,
    /// No policy selects the pod, so every caller is admitted.
    NotIsolated,
    /// The policies are not known, or do not govern this pod.
    #[default]
    Unknown,
}

impl PolicyVerdict {
    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blocked => "blocked",
            Self::NotIsolated => "not-isolated",
            Self::Unknown => "unknown",
        }
    }
}
