//! Attach points of each per-netns hook over all netns: attached, waiting or refused. Reports the hook's state to the feed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use portolan_engine::model::identity::NetnsId;

use crate::state::{Hook, Reporter, State, StateFeed};

/// A netns, and the index of an interface in it (0: the netns itself).
type AttachPoint = (NetnsId, u32);

/// Attach points of one hook.
#[derive(Debug)]
struct Attachment {
    /// `None`: the hook is off.
    reporter: Option<Reporter>,
    /// Reason why the kernel does not support the hook at all.
    unsupported: Option<String>,
    /// Attach points with a program.
    attached: BTreeSet<AttachPoint>,
    /// Attach points that follow in later steps.
    waiting: BTreeSet<AttachPoint>,
    /// Attach points that the kernel refused, with the reason.
    refused: BTreeMap<AttachPoint, String>,
    /// The attach point that was refused last.
    latest: Option<AttachPoint>,
}

/// The hooks that are attached in each netns. Only the netns thread uses them.
#[derive(Debug)]
pub(super) struct Attachments(Mutex<BTreeMap<Hook, Attachment>>);

impl Attachments {
    /// Registers the hooks of `wanted` at `feed`; a hook that is not wanted is reported as off.
    pub fn new(wanted: [(Hook, bool); 2], feed: &StateFeed) -> Self {
        let attachment = |(hook, is_wanted): (Hook, bool)| {
            let reporter = feed.reporter(hook);
            if !is_wanted {
                reporter.report(State::Off);
            }
            (hook, Attachment::new(is_wanted.then_some(reporter)))
        };
        Self(Mutex::new(wanted.into_iter().map(attachment).collect()))
    }

    /// Changes a hook and reports the state that follows.
    fn change<T>(&self, hook: Hook, change: impl FnOnce(&mut Attachment) -> T) -> T {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attachment = hooks.entry(hook).or_insert_with(|| Attachment::new(None));
        let result = change(attachment);
        if let Some(reporter) = &attachment.reporter {
            reporter.report(attachment.state());
        }
        result
    }

    /// Records that the kernel does not support this hook, and warns.
    pub fn unsupported(&self, hook: Hook, reason: String) {
        tracing::warn!(hook = hook.as_str(), "{reason}");
        self.change(hook, |hook| hook.unsupported = Some(reason));
    }

    /// Records that the attach point is tried soon. A refusal stays until then.
    pub fn wait(&self, hook: Hook, place: AttachPoint) {
        self.change(hook, |hook| {
            hook.attached.remove(&place);
            if !hook.refused.contains_key(&place) {
                hook.waiting.insert(place);
            }
        });
    }

    /// Records that a program is attached.
    pub fn attached(&self, hook: Hook, place: AttachPoint) {
        self.change(hook, |hook| {
            hook.refused.remove(&place);
            hook.waiting.remove(&place);
            hook.attached.insert(place);
        });
    }

    /// Records a refusal. Warns if the attach point was not refused before.
    pub fn refused(&self, hook: Hook, place: AttachPoint, reason: String) {
        let is_new = self.change(hook, |hook| {
            hook.attached.remove(&place);
            hook.waiting.remove(&place);
            hook.latest = Some(place);
            hook.refused.insert(place, reason.clone()).is_none()
        });
        if is_new {
            tracing::warn!(hook = hook.as_str(), netns = place.0.0, "{reason}");
        }
    }

    /// Keeps only the interfaces of this netns for which `is_left` holds.
    pub fn retain(&self, hook: Hook, netns: NetnsId, is_left: impl Fn(u32) -> bool) {
        self.change(hook, |hook| {
            let places = (netns, 0)..=(netns, u32::MAX);
            hook.attached.extract_if(places.clone(), |place| !is_left(place.1)).for_each(drop);
            hook.waiting.extract_if(places.clone(), |place| !is_left(place.1)).for_each(drop);
            hook.refused.extract_if(places, |place, _| !is_left(place.1)).for_each(drop);
        });
    }
}

impl Attachment {
    fn new(reporter: Option<Reporter>) -> Self {
        Self {
            reporter,
            unsupported: None,
            attached: BTreeSet::new(),
            waiting: BTreeSet::new(),
            refused: BTreeMap::new(),
            latest: None,
        }
    }

    /// The state over all netns, with the latest refusal that still stands.
    fn state(&self) -> State {
        if let Some(reason) = &self.unsupported {
            return State::Down { reason: reason.clone() };
        }
        let attached = self.attached.len();
        let all = attached + self.waiting.len() + self.refused.len();
        let latest = self.latest.and_then(|place| self.refused.get(&place));
        let Some(reason) = latest.or_else(|| self.refused.values().next()) else {
            return match (all, self.waiting.len()) {
                (0, _) => State::Starting,
                (_, 0) => State::Up,
                _ => State::Attaching { reason: format!("attached {attached} of {all}, the others follow") },
            };
        };
        let reason = format!("attached {attached} of {all}: {reason}");
        if attached == 0 { State::Down { reason } } else { State::Degraded { reason } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETNS: NetnsId = NetnsId(7);

    /// Hooks, and how status shows the first of them.
    struct Shown {
        hooks: Attachments,
        feed: StateFeed,
    }

    impl Shown {
        fn new() -> Self {
            let feed = StateFeed::default();
            Self { hooks: Attachments::new([(Hook::Tc, true), (Hook::SkLookup, false)], &feed), feed }
        }

        fn state(&self) -> (&'static str, Option<String>) {
            let state = self.feed.subscribe().borrow().of(Hook::Tc);
            (Hook::word(&state), state.reason().map(str::to_owned))
        }
    }

    #[test]
    fn a_hook_that_is_not_wanted_is_off_whatever_is_tried() {
        let shown = Shown::new();
        shown.hooks.refused(Hook::SkLookup, (NETNS, 0), "no".to_owned());
        assert_eq!(shown.feed.subscribe().borrow().of(Hook::SkLookup), State::Off);
    }

    #[test]
    fn a_refusal_stands_until_it_is_attached_or_its_place_is_gone() {
        let shown = Shown::new();
        let hooks = &shown.hooks;
        assert_eq!(shown.state(), ("waiting", None));
        hooks.attached(Hook::Tc, (NETNS, 2));
        hooks.refused(Hook::Tc, (NETNS, 3), "no".to_owned());
        hooks.refused(Hook::Tc, (NetnsId(8), 2), "never".to_owned());
        assert_eq!(shown.state(), ("partial", Some("attached 1 of 3: never".to_owned())));
        hooks.retain(Hook::Tc, NetnsId(8), |_| false);
        assert_eq!(shown.state(), ("partial", Some("attached 1 of 2: no".to_owned())));
        hooks.attached(Hook::Tc, (NETNS, 3));
        assert_eq!(shown.state(), ("attached", None));
        hooks.retain(Hook::Tc, NETNS, |index| index == 3);
        hooks.refused(Hook::Tc, (NETNS, 3), "gone".to_owned());
        assert_eq!(shown.state(), ("refused", Some("attached 0 of 1: gone".to_owned())));
        hooks.wait(Hook::Tc, (NETNS, 3));
        assert_eq!(shown.state().0, "refused", "until it is tried again");
        hooks.unsupported(Hook::Tc, "old".to_owned());
        assert_eq!(shown.state(), ("refused", Some("old".to_owned())));
    }

    #[test]
    fn what_waits_for_its_turn_is_told() {
        let shown = Shown::new();
        let hooks = &shown.hooks;
        hooks.wait(Hook::Tc, (NETNS, 2));
        hooks.wait(Hook::Tc, (NETNS, 3));
        hooks.attached(Hook::Tc, (NETNS, 2));
        let told = "attached 1 of 2, the others follow".to_owned();
        assert_eq!(shown.state(), ("attaching", Some(told)));
        hooks.refused(Hook::Tc, (NetnsId(8), 2), "no".to_owned());
        assert_eq!(shown.state(), ("partial", Some("attached 1 of 3: no".to_owned())));
        hooks.retain(Hook::Tc, NetnsId(8), |_| false);
        hooks.retain(Hook::Tc, NETNS, |index| index == 2);
        assert_eq!(shown.state(), ("attached", None));
    }
}
