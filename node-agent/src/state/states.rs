//! The states of all hooks, sources and sinks at one moment.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;

use super::component::{Component, Hook, Readiness, Source};

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

    /// True for a hook that is attached everywhere, or will be in a moment.
    pub(super) const fn is_attached(&self) -> bool {
        matches!(self, Self::Up | Self::Attaching { .. })
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
    /// Since when it has been down or degraded, whatever the reason; `None` while it is neither.
    pub(super) troubled_since: Option<BootTime>,
    /// Set once for good.
    pub(super) has_been_ready: bool,
}

impl Entry {
    /// Returns the entry of a component that has neither worked nor failed yet.
    pub(super) fn starting(now: BootTime) -> Self {
        Self { state: State::Starting, since: now, troubled_since: None, has_been_ready: false }
    }

    /// Takes over a new state. Returns how long the trouble lasted that it ends, if it ends one.
    pub(super) fn change(&mut self, state: State, now: BootTime) -> Option<Duration> {
        let is_trouble = matches!(state, State::Down { .. } | State::Degraded { .. });
        let ended = match (self.troubled_since, &state) {
            (Some(since), State::Up) => Some(now.since(since)),
            _ => None,
        };
        self.troubled_since = if is_trouble { self.troubled_since.or(Some(now)) } else { None };
        self.has_been_ready |= state.is_up();
        self.state = state;
        self.since = now;
        ended
    }
}

/// Hooks and sources without their reasons: equal where nothing changed that deserves a status of its own.
pub type Settled = Vec<(Component, Discriminant<State>)>;

/// State of every hook and source that has a reporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(pub(super) BTreeMap<Component, Entry>);

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

impl Hook {
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

impl Source {
    /// Word of status for a source in this state.
    #[must_use]
    pub const fn word(state: &State) -> &'static str {
        if matches!(state, State::Down { .. }) { "down" } else { "up" }
    }
}
