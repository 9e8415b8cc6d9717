//! The one feed of states: components report, subscribers read the latest.

use tokio::sync::watch;

use super::component::Component;
use super::states::{Entry, State, States};
use crate::source::clock;

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
