//! Identity of the hooks, sources and sinks whose state is known, with their public names.

use std::fmt;
use std::path::PathBuf;

/// A kernel hook, in the order in which status lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    SockOps,
    PostBind4,
    PostBind6,
    SockRelease,
    SendMsg4,
    SendMsg6,
    SkLookup,
    Tc,
}

impl Hook {
    /// Name of the hook in status and diagnostics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SockOps => "sock_ops",
            Self::PostBind4 => "post_bind4",
            Self::PostBind6 => "post_bind6",
            Self::SockRelease => "sock_release",
            Self::SendMsg4 => "sendmsg4",
            Self::SendMsg6 => "sendmsg6",
            Self::SkLookup => "sk_lookup",
            Self::Tc => "tc",
        }
    }
}

/// Anything beside the hooks that facts come from or findings go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The configuration file.
    Config,
    /// Connection tracking of the node.
    Conntrack,
    /// The container runtime; `None`: the first socket that answers.
    Cri(Option<PathBuf>),
    /// A file of manifests.
    File(PathBuf),
    /// Pods of the API server.
    Pods,
    /// Namespaces of the API server.
    Namespaces,
    /// NetworkPolicies of the API server.
    NetworkPolicies,
    /// Services of the API server.
    Services,
    /// The thread that discovers and scans network namespaces.
    Netns,
    OtlpLogs,
    OtlpMetrics,
    /// The writer of Events.
    Events,
    /// The writer of Reports.
    Reports,
    /// The file that keeps findings over a restart.
    StateFile,
}

/// What a source means for the agent's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The agent is not ready before this source was.
    Required,
    /// The agent is not ready before one of these was, if there are any.
    AnyMetadata,
    /// Readiness does not depend on this source.
    Informative,
}

impl Source {
    /// Value of the metric label `source`. A path would be a label without bounds, so all files share one label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Conntrack => "conntrack",
            Self::Cri(_) => "cri",
            Self::File(_) => "file",
            Self::Pods => "kubernetes",
            Self::Namespaces => "kubernetes/namespaces",
            Self::NetworkPolicies => "kubernetes/networkpolicies",
            Self::Services => "kubernetes/services",
            Self::Netns => "netns",
            Self::OtlpLogs => "otlp/logs",
            Self::OtlpMetrics => "otlp/metrics",
            Self::Events => "sink/events",
            Self::Reports => "sink/reports",
            Self::StateFile => "state-file",
        }
    }

    /// What the agent's readiness depends on.
    #[must_use]
    pub const fn readiness(&self) -> Readiness {
        match self {
            Self::Netns => Readiness::Required,
            Self::Cri(_) | Self::File(_) | Self::Pods => Readiness::AnyMetadata,
            Self::Config
            | Self::Conntrack
            | Self::Namespaces
            | Self::NetworkPolicies
            | Self::Services
            | Self::OtlpLogs
            | Self::OtlpMetrics
            | Self::Events
            | Self::Reports
            | Self::StateFile => Readiness::Informative,
        }
    }
}

/// Name in status: the label, and the path as it is typed after `--metadata`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cri(Some(path)) | Self::File(path) => write!(f, "{}={}", self.label(), path.display()),
            _ => f.write_str(self.label()),
        }
    }
}

/// Identity of an entry of [`States`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    Hook(Hook),
    Source(Source),
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(hook) => write!(f, "hook {}", hook.as_str()),
            Self::Source(source) => source.fmt(f),
        }
    }
}

impl From<Hook> for Component {
    fn from(hook: Hook) -> Self {
        Self::Hook(hook)
    }
}

impl From<Source> for Component {
    fn from(source: Source) -> Self {
        Self::Source(source)
    }
}
