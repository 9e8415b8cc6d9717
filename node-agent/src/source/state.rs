//! State of every hook, source and sink of the agent, and the one feed that carries it. Each of them writes its own entry
//! through a [`Reporter`]; status, readiness and metrics read the same [`States`].

use std::collections::BTreeMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;

use portolan_engine::model::identity::BootTime;
use tokio::sync::watch;

use crate::source::clock;

/// A kernel hook, in the order in which status lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    SockOps,
    PostBind4,
    PostBind6,
    SockRelease,
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
            Self::SkLookup => "sk_lookup",
            Self::Tc => "tc",
        }
    }

    /// Word of status for a hook in this state.
    #[must_use]
    pub const fn word(state: &State) -> &'static str {
        match state {
            State::Starting => "waiting",
            State::Attaching { .. } => "attaching",
            State::Up => "attached",
            State::Degraded { .. } => "partial",
            State::Down { .. } => "refused",
            State::Off => "off",
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
            | Self::Reports => Readiness::Informative,
        }
    }

    /// Word of status for a source in this state.
    #[must_use]
    pub const fn word(state: &State) -> &'static str {
        if matches!(state, State::Down { .. }) { "down" } else { "up" }
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

/// How a hook or source works now. Each reason is one line for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It has neither worked nor failed yet.
    #[default]
    Starting,
    /// A hook that is attached in some network namespaces; the others follow.
    Attaching {
        reason: String,
    },
    Up,
    /// It works in part, or works although something is amiss.
    Degraded {
        reason: String,
    },
    Down {
        reason: String,
    },
    /// A hook that the configuration does not ask for.
    Off,
}

impl State {
    /// Returns `Down` with the reason, or `Up` where there is none.
    #[must_use]
    pub fn up_unless(reason: Option<String>) -> Self {
        reason.map_or(Self::Up, |reason| Self::Down { reason })
    }

    /// Returns `Degraded` with the reason, or `Up` where there is none.
    #[must_use]
    pub fn up_with(reason: Option<String>) -> Self {
        reason.map_or(Self::Up, |reason| Self::Degraded { reason })
    }

    /// True for a source that has delivered its facts and whose last attempt succeeded.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up | Self::Degraded { .. })
    }

    /// Why it does not work, or what is amiss although it works.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Attaching { reason } | Self::Degraded { reason } | Self::Down { reason } => Some(reason),
            Self::Starting | Self::Up | Self::Off => None,
        }
    }

    /// What two states have in common that differ in their reason alone. A hook that is being attached counts as attached,
    /// since every new pod makes it so for a moment.
    fn settled(&self) -> Discriminant<Self> {
        match self {
            Self::Attaching { .. } => discriminant(&Self::Up),
            other => discriminant(other),
        }
    }
}

/// State of one hook or source, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub state: State,
    /// When the state or its reason changed last.
    pub since: BootTime,
    /// Set once for good.
    has_been_ready: bool,
}

/// Hooks and sources without their reasons: equal where nothing changed that deserves a status of its own.
pub type Settled = Vec<(Component, Discriminant<State>)>;

/// State of every hook and source that has a reporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(BTreeMap<Component, Entry>);

impl States {
    /// State of one hook or source; `Starting` if it has no reporter.
    #[must_use]
    pub fn of(&self, component: impl Into<Component>) -> State {
        self.0.get(&component.into()).map(|entry| entry.state.clone()).unwrap_or_default()
    }

    /// Hooks in the order of status.
    pub fn hooks(&self) -> impl Iterator<Item = (Hook, &State)> {
        self.0.iter().filter_map(|(component, entry)| match component {
            Component::Hook(hook) => Some((*hook, &entry.state)),
            Component::Source(_) => None,
        })
    }

    /// Sources that have worked or failed.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &Entry)> {
        self.0.iter().filter_map(|(component, entry)| match component {
            Component::Source(source) if entry.state != State::Starting => Some((source, entry)),
            Component::Source(_) | Component::Hook(_) => None,
        })
    }

    /// Whether the sources work, by label: where several share one, whether all of them do.
    #[must_use]
    pub fn up_by_label(&self) -> BTreeMap<&'static str, bool> {
        let mut up = BTreeMap::new();
        for (source, entry) in self.sources() {
            *up.entry(source.label()).or_insert(true) &= entry.state.is_up();
        }
        up
    }

    /// True once every source that is required, and one source of metadata if there are any, has been ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let of = |wanted| {
            self.0.iter().filter_map(move |(component, entry)| match component {
                Component::Source(source) if source.readiness() == wanted => Some(entry.has_been_ready),
                Component::Source(_) | Component::Hook(_) => None,
            })
        };
        let mut metadata = of(Readiness::AnyMetadata).peekable();
        of(Readiness::Required).all(|ready| ready)
            && (metadata.peek().is_none() || metadata.any(|ready| ready))
    }

    /// Hooks, and sources that have worked or failed, without their reasons.
    #[must_use]
    pub fn settled(&self) -> Settled {
        let is_shown = |(component, entry): &(&Component, &Entry)| {
            matches!(component, Component::Hook(_)) || entry.state != State::Starting
        };
        let settled = |(component, entry): (&Component, &Entry)| (component.clone(), entry.state.settled());
        self.0.iter().filter(is_shown).map(settled).collect()
    }
}

/// The register of all states. Clones share it; each change wakes the subscribers, who read the latest state.
#[derive(Clone, Debug, Default)]
pub struct StateFeed(watch::Sender<States>);

impl StateFeed {
    /// Registers a hook or source as `Starting`. A second reporter of the same one continues where the first is.
    #[must_use]
    pub fn reporter(&self, component: impl Into<Component>) -> Reporter {
        let component = component.into();
        let entry = || Entry { state: State::Starting, since: clock::now(), has_been_ready: false };
        self.0.send_modify(|states| {
            states.0.entry(component.clone()).or_insert_with(entry);
        });
        Reporter { states: self.0.clone(), component }
    }

    /// A receiver that begins with the states of now.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<States> {
        self.0.subscribe()
    }
}

/// Writes the state of one hook or source.
#[derive(Clone, Debug)]
pub struct Reporter {
    states: watch::Sender<States>,
    component: Component,
}

impl Reporter {
    /// Sets the state; true if state or reason changed. Warns of the reason of a source that changed: hooks say in which
    /// network namespace they were refused, so they warn themselves.
    pub fn report(&self, state: State) -> bool {
        let now = clock::now();
        let changed = self.states.send_if_modified(|states| {
            let Some(entry) = states.0.get_mut(&self.component) else { return false };
            if entry.state == state {
                return false;
            }
            let has_been_ready = entry.has_been_ready || state.is_up();
            *entry = Entry { state: state.clone(), since: now, has_been_ready };
            true
        });
        if changed
            && let Component::Source(source) = &self.component
            && let Some(reason) = state.reason()
        {
            tracing::warn!(source = source.to_string(), "{reason}");
        }
        changed
    }

    /// Makes the source count as ready, in whatever state it is. A source that was up is ready without.
    pub fn mark_ready(&self) {
        self.states.send_if_modified(|states| {
            let entry = states.0.get_mut(&self.component);
            entry.is_some_and(|entry| !std::mem::replace(&mut entry.has_been_ready, true))
        });
    }

    /// The state that was reported last.
    #[must_use]
    pub fn state(&self) -> State {
        self.states.borrow().of(self.component.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> State {
        State::Down { reason: "no".to_owned() }
    }

    #[test]
    fn names_are_those_that_are_typed_and_labels_have_no_path() {
        for (source, name, label) in [
            (Source::Cri(None), "cri", "cri"),
            (Source::Cri(Some("/run/c.sock".into())), "cri=/run/c.sock", "cri"),
            (Source::File("/a.yaml".into()), "file=/a.yaml", "file"),
            (Source::Pods, "kubernetes", "kubernetes"),
            (Source::NetworkPolicies, "kubernetes/networkpolicies", "kubernetes/networkpolicies"),
            (Source::Reports, "sink/reports", "sink/reports"),
        ] {
            assert_eq!((source.to_string().as_str(), source.label()), (name, label));
        }
    }

    #[test]
    fn the_agent_is_ready_once_netns_and_one_source_of_metadata_were() {
        let feed = StateFeed::default();
        let is_ready = || feed.subscribe().borrow().is_ready();
        let netns = feed.reporter(Source::Netns);
        assert!(!is_ready());
        netns.report(down());
        assert!(!is_ready());
        netns.mark_ready();
        assert!(is_ready(), "no source of metadata is waited for");
        let (cri, file) = (feed.reporter(Source::Cri(None)), feed.reporter(Source::File("a".into())));
        feed.reporter(Source::Services).report(State::Up);
        cri.report(down());
        assert!(!is_ready(), "Services are no source of pods");
        file.report(State::Degraded { reason: "slow".to_owned() });
        file.report(down());
        assert!(is_ready(), "one was up");
    }

    #[test]
    fn a_label_that_sources_share_is_up_where_all_are() {
        let feed = StateFeed::default();
        feed.reporter(Source::File("a".into())).report(down());
        feed.reporter(Source::File("b".into())).report(State::Up);
        feed.reporter(Source::OtlpLogs).report(State::Up);
        let _starting = feed.reporter(Source::Conntrack);
        let up = feed.subscribe().borrow().up_by_label();
        assert_eq!(up, BTreeMap::from([("file", false), ("otlp/logs", true)]));
    }

    #[test]
    fn what_is_reported_again_changes_nothing() {
        let feed = StateFeed::default();
        let mut states = feed.subscribe();
        let cri = feed.reporter(Source::Cri(None));
        assert!(cri.report(down()));
        states.mark_unchanged();
        assert!(!cri.report(down()) && !states.has_changed().expect("open"));
        let before = states.borrow().settled();
        assert!(cri.report(State::Down { reason: "never".to_owned() }));
        assert_eq!(states.borrow().settled(), before, "only the reason differs");
    }
}
