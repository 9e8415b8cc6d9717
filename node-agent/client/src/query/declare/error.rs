//! Errors of `portolan declare`. Each is one line that says what to do.

use crate::exit::Exit;

/// Error of declarations that cannot be drafted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// Pods of several workloads match.
    #[error("the target is of more than one workload ({workloads}): say which as NAMESPACE/KIND/NAME")]
    ManyWorkloads {
        /// Names of the workloads.
        workloads: String,
    },
    /// A name is not valid in Kubernetes.
    #[error("{what} is no name that Kubernetes allows")]
    BadName {
        /// The name, or what has none.
        what: String,
    },
    /// Kustomize replaces lists of custom resources as a whole.
    #[error(
        "kustomize cannot merge ports into a {kind}, which is no workload of Kubernetes' own: use -o yaml, and put the ports \
         into its manifest"
    )]
    CustomKind {
        /// Kind of the workload.
        kind: String,
    },
    /// The agent is too old.
    #[error("the agent does not say which container serves a port: use an agent as new as this command")]
    OldAgent,
}

impl DeclareError {
    /// Returns the exit code of a command that ends with this error.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::OldAgent => Exit::Partial,
            Self::ManyWorkloads { .. } | Self::BadName { .. } | Self::CustomKind { .. } => Exit::WrongUse,
        }
    }
}
