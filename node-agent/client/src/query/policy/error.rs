//! Errors of `portolan policy`. Each is one line that says what to do.

use crate::exit::Exit;

/// Error of a target, or of a policy that cannot be drafted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The target cannot be parsed.
    #[error(
        "{given:?} is no target: expected NAMESPACE/POD, KIND/NAME, NAMESPACE/KIND/NAME, or a pod's name"
    )]
    BadTarget {
        /// Text of the target.
        given: String,
    },
    /// The target and `-n` name different Kubernetes namespaces.
    #[error(
        "{given:?} is of namespace {place:?}, but -n says {namespace:?}: give one of them (a kind that is not Kubernetes' \
         own begins with a capital, as in Rollout/web)"
    )]
    TwoNamespaces {
        /// Text of the target.
        given: String,
        /// Namespace in the target.
        place: String,
        /// Namespace of `-n`.
        namespace: String,
    },
    /// The agent knows no pod of the target.
    #[error(
        "the agent at {server} knows no pod of {target}; ask the agent of a node where one runs \
         (`kubectl get pods -o wide` says which)"
    )]
    NotHere {
        /// The target.
        target: String,
        /// Address of the agent.
        server: String,
    },
    /// No agent of the cluster knows a pod of the target.
    #[error(
        "no agent knows a pod of {target}: no such pod runs in this cluster (`kubectl get pods -A` lists all)"
    )]
    NotInCluster {
        /// The target.
        target: String,
    },
    /// Pods of several Kubernetes namespaces match.
    #[error("there is such a pod in more than one namespace ({namespaces}): say which with -n")]
    ManyNamespaces {
        /// Names of the namespaces.
        namespaces: String,
    },
    /// A pod uses the node's network.
    #[error("{pod} uses the node's own network (hostNetwork), for which no NetworkPolicy holds")]
    HostNetwork {
        /// `NAMESPACE/NAME`.
        pod: String,
    },
    /// The pods share no valid label.
    #[error("{pod} has no label that a policy could select it by; label the pods of its workload first")]
    NoLabels {
        /// `NAMESPACE/NAME` of one of the pods.
        pod: String,
    },
    /// A name is not valid in Kubernetes.
    #[error("{what} is no name that Kubernetes allows")]
    BadName {
        /// The name, or what has none.
        what: String,
    },
}

impl PolicyError {
    /// Returns the exit code of a command that ends with this error.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NotHere { .. } => Exit::Partial,
            Self::BadTarget { .. }
            | Self::NotInCluster { .. }
            | Self::TwoNamespaces { .. }
            | Self::ManyNamespaces { .. }
            | Self::HostNetwork { .. }
            | Self::NoLabels { .. }
            | Self::BadName { .. } => Exit::WrongUse,
        }
    }
}
