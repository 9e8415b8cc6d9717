//! What NetworkPolicies say about a port, as reports show it.

/// What NetworkPolicies say of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub verdict: PolicyVerdict,
    /// `NAMESPACE/NAME` of those that make it so, sorted.
    pub policies: Vec<String>,
}

/// Whether NetworkPolicies let anybody reach a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyVerdict {
    /// The pod is isolated, and a rule admits the port from somewhere.
    Open,
    /// The pod is isolated, and no rule admits the port.
    Blocked,
    /// No policy selects the pod: everybody may call it.
    NotIsolated,
    /// The policies are not known, or do not govern this pod.
    #[default]
    Unknown,
}

impl PolicyVerdict {
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
