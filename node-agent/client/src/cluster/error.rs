//! Errors of `kubectl portolan` that end the command. Each is one line that says what to do, and has an exit code.

use portolan_report::escape::terminal;

use crate::exit::Exit;
use crate::query::error::QueryError;
use crate::query::show::FormatError;

/// Error that leaves no agent to ask, or no answer to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// The async runtime cannot start.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// The kubeconfig has no usable credentials.
    #[error("no credentials for a cluster: {}; --kubeconfig or KUBECONFIG says where they are", terminal(.0))]
    Credentials(String),
    /// The API server does not list the agents' pods. The text is a whole sentence.
    #[error("{}", terminal(.0))]
    NotListed(String),
    /// No pod has the labels of an agent.
    #[error(
        "no agent found: no pod {place} has the labels {selector}; is portolan installed? \
         (`helm list -A`; --agents-namespace and --agents-selector say where to look)"
    )]
    NoAgents {
        /// Value of `--agents-selector`.
        selector: String,
        /// Namespaces that were searched, as part of the sentence.
        place: String,
    },
    /// Neither the command line nor the plugin's release names an image.
    #[error(
        "which image is to run on the nodes? --image or PORTOLAN_IMAGE names it, such as REGISTRY/portolan:VERSION"
    )]
    NoImage,
    /// The nodes cannot be scanned. The text is a whole sentence.
    #[error("{}", terminal(.0))]
    Scan(String),
    /// The page does not understand the view that it is to open. The text names the parameter and says what was expected.
    #[error("cannot open this view of the page: {}", terminal(.0))]
    View(String),
    /// The page cannot listen on its port.
    #[error("cannot listen on 127.0.0.1:{port}: {reason}; give another --port, or 0 for any that is free")]
    Page {
        /// Value of `--port`.
        port: u16,
        /// The system's message.
        reason: String,
    },
    /// A task of the page's server ended, and the page with it.
    #[error("the page ended: {}; start the command again, and report it as a bug", terminal(.0))]
    PageEnded(String),
    /// An answer lacks a field that the output format needs.
    #[error("an answer is not portolan's: {0}")]
    NotUnderstood(FormatError),
    /// An agent refused the request, or the output cannot be written.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl ClusterError {
    /// Returns the exit code of a command that ends with this error.
    #[must_use]
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Credentials(_) | Self::NoImage | Self::View(_) | Self::Page { .. } => Exit::WrongUse,
            Self::Query(error) => error.exit(),
            Self::Start(_)
            | Self::NotListed(_)
            | Self::NoAgents { .. }
            | Self::Scan(_)
            | Self::PageEnded(_)
            | Self::NotUnderstood(_) => Exit::Partial,
        }
    }

    /// Returns true if the reader of the output closed the pipe, which is not a failure.
    #[must_use]
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Query(error) if error.is_closed_pipe())
    }
}
