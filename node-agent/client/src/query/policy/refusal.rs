//! Why no policy can be drafted, each in one line that says what to do.

use crate::exit::Exit;

/// See the module.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "{given:?} is no target: expected NAMESPACE/POD, KIND/NAME, NAMESPACE/KIND/NAME, or a pod's name"
    )]
    BadTarget { given: String },
    #[error(
        "{given:?} is of namespace {place:?}, but -n says {namespace:?}: give one of them (a kind that is not Kubernetes' \
         own begins with a capital, as in Rollout/web)"
    )]
    TwoNamespaces { given: String, place: String, namespace: String },
    #[error(
        "the agent at {server} knows no pod of {target}; ask the agent of a node where one runs \
         (`kubectl get pods -o wide` says which)"
    )]
    NotHere { target: String, server: String },
    #[error("there is such a pod in more than one namespace ({namespaces}): say which with -n")]
    ManyNamespaces { namespaces: String },
    #[error("{pod} uses the node's own network (hostNetwork), for which no NetworkPolicy holds")]
    HostNetwork { pod: String },
    #[error("{pod} has no label that a policy could select it by; label the pods of its workload first")]
    NoLabels { pod: String },
    #[error("{what} is no name that Kubernetes allows")]
    BadName { what: String },
}

impl Refusal {
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NotHere { .. } => Exit::Partial,
            Self::BadTarget { .. }
            | Self::TwoNamespaces { .. }
            | Self::ManyNamespaces { .. }
            | Self::HostNetwork { .. }
            | Self::NoLabels { .. }
            | Self::BadName { .. } => Exit::WrongUse,
        }
    }
}
