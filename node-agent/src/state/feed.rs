//! The one feed of states: components report, subscribers read the latest.

use std::time::Duration;

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
        let entry = || Entry::starting(clock::now());
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
    /// network namespace they were refused, so they warn themselves. Says also when a source or hook is back. The steps in
    /// which a hook is attached wake no subscriber.
    pub fn report(&self, state: State) -> bool {
        let now = clock::now();
        let mut trouble = None;
        let mut changed = false;
        self.states.send_if_modified(|states| {
            let Some(entry) = states.0.get_mut(&self.component) else { return false };
            if entry.state == state {
                return false;
            }
            changed = true;
            let (was_attached, was_ready) = (entry.state.is_attached(), entry.has_been_ready);
            trouble = entry.change(state.clone(), now);
            !was_attached || !entry.state.is_attached() || was_ready != entry.has_been_ready
        });
        if let Some(trouble) = trouble {
            tracing::info!("{} is back to normal after {}", self.component, for_people(trouble));
        }
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

/// Returns a duration in the two largest units that it has: `45 s`, `3 min`, `2 h 5 min`.
fn for_people(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter;

    use super::{StateFeed, for_people};
    use crate::state::{Hook, Source, State};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn what_comes_back_is_said_once_with_how_long_it_was_away() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        let down = |reason: &str| State::Down { reason: reason.to_owned() };
        tracing::subscriber::with_default(subscriber, || {
            let feed = StateFeed::default();
            let pods = feed.reporter(Source::Pods);
            pods.report(State::Up);
            pods.report(down("cannot reach it"));
            pods.report(down("still cannot"));
            pods.report(State::Up);
            let hook = feed.reporter(Hook::Tc);
            hook.report(State::Attaching { reason: "one netns".to_owned() });
            hook.report(State::Up);
            hook.report(State::Degraded { reason: "refused".to_owned() });
            hook.report(State::Attaching { reason: "one netns".to_owned() });
            hook.report(State::Degraded { reason: "refused".to_owned() });
            hook.report(State::Up);
        });
        let text = String::from_utf8(log.0.lock().expect("unpoisoned").clone()).expect("text");
        let back: Vec<&str> = text.lines().filter(|line| line.contains("is back")).collect();
        assert_eq!(back.len(), 2, "{text}");
        assert!(
            back[0].contains("INFO") && back[0].ends_with("kubernetes is back to normal after 0 s"),
            "{text}"
        );
        assert!(back[1].ends_with("hook tc is back to normal after 0 s"), "{text}");
    }

    #[test]
    fn a_time_is_said_in_few_words() {
        for (seconds, words) in [(0, "0 s"), (59, "59 s"), (190, "3 min"), (7200, "2 h"), (7500, "2 h 5 min")]
        {
            assert_eq!(for_people(Duration::from_secs(seconds)), words);
        }
    }
}
