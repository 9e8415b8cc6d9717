//! What is attached in all netns and what was refused, by hook: written on the netns thread, read for status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portolan_engine::model::identity::NetnsId;

/// A netns, and the index of an interface in it (0: the netns itself).
type Place = (NetnsId, u32);

#[derive(Debug, Default)]
struct Hook {
    /// Why it can be attached nowhere.
    nowhere: Option<String>,
    attached: BTreeSet<Place>,
    /// Their turn has not come yet.
    waiting: BTreeSet<Place>,
    refused: BTreeMap<Place, String>,
    latest: Option<Place>,
}

/// Shared by both sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Attachments(Arc<Mutex<BTreeMap<&'static str, Hook>>>);

impl Attachments {
    fn change<T>(&self, hook: &'static str, change: impl FnOnce(&mut Hook) -> T) -> T {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(hooks.entry(hook).or_default())
    }

    /// The kernel takes this hook nowhere.
    pub fn nowhere(&self, hook: &'static str, reason: String) {
        tracing::warn!(hook, "{reason}");
        self.change(hook, |hook| hook.nowhere = Some(reason));
    }

    /// It is tried soon. What was refused before stays refused until then.
    pub fn waits(&self, hook: &'static str, place: Place) {
        self.change(hook, |hook| {
            hook.attached.remove(&place);
            if !hook.refused.contains_key(&place) {
                hook.waiting.insert(place);
            }
        });
    }

    pub fn attached(&self, hook: &'static str, place: Place) {
        self.change(hook, |hook| {
            hook.refused.remove(&place);
            hook.waiting.remove(&place);
            hook.attached.insert(place);
        });
    }

    /// Warns where it was not refused before.
    pub fn refused(&self, hook: &'static str, place: Place, reason: String) {
        let is_new = self.change(hook, |hook| {
            hook.attached.remove(&place);
            hook.waiting.remove(&place);
            hook.latest = Some(place);
            hook.refused.insert(place, reason.clone()).is_none()
        });
        if is_new {
            tracing::warn!(hook, netns = place.0.0, "{reason}");
        }
    }

    /// Of the interfaces of this netns only those are left for which `is_left` holds.
    pub fn retain(&self, hook: &'static str, netns: NetnsId, is_left: impl Fn(u32) -> bool) {
        self.change(hook, |hook| {
            let places = (netns, 0)..=(netns, u32::MAX);
            hook.attached.extract_if(places.clone(), |place| !is_left(place.1)).for_each(drop);
            hook.waiting.extract_if(places.clone(), |place| !is_left(place.1)).for_each(drop);
            hook.refused.extract_if(places, |place, _| !is_left(place.1)).for_each(drop);
        });
    }

    /// State as status names it, and the latest reason that still stands.
    pub fn state(&self, hook: &'static str) -> (&'static str, Option<String>) {
        self.change(hook, |hook| {
            if let Some(reason) = &hook.nowhere {
                return ("refused", Some(reason.clone()));
            }
            let attached = hook.attached.len();
            let all = attached + hook.waiting.len() + hook.refused.len();
            let latest = hook.latest.and_then(|place| hook.refused.get(&place));
            let Some(reason) = latest.or_else(|| hook.refused.values().next()) else {
                return match (all, hook.waiting.len()) {
                    (0, _) => ("waiting", None),
                    (_, 0) => ("attached", None),
                    _ => ("attaching", Some(format!("attached {attached} of {all}, the others follow"))),
                };
            };
            let state = if attached == 0 { "refused" } else { "partial" };
            (state, Some(format!("attached {attached} of {all}: {reason}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETNS: NetnsId = NetnsId(7);

    #[test]
    fn a_refusal_stands_until_it_is_attached_or_its_place_is_gone() {
        let hooks = Attachments::default();
        assert_eq!(hooks.state("tc"), ("waiting", None));
        hooks.attached("tc", (NETNS, 2));
        hooks.refused("tc", (NETNS, 3), "no".to_owned());
        hooks.refused("tc", (NetnsId(8), 2), "never".to_owned());
        assert_eq!(hooks.state("tc"), ("partial", Some("attached 1 of 3: never".to_owned())));
        hooks.retain("tc", NetnsId(8), |_| false);
        assert_eq!(hooks.state("tc"), ("partial", Some("attached 1 of 2: no".to_owned())));
        hooks.attached("tc", (NETNS, 3));
        assert_eq!(hooks.state("tc"), ("attached", None));
        hooks.retain("tc", NETNS, |index| index == 3);
        hooks.refused("tc", (NETNS, 3), "gone".to_owned());
        assert_eq!(hooks.state("tc"), ("refused", Some("attached 0 of 1: gone".to_owned())));
        hooks.waits("tc", (NETNS, 3));
        assert_eq!(hooks.state("tc").0, "refused", "until it is tried again");
        hooks.nowhere("tc", "old".to_owned());
        assert_eq!(hooks.state("tc"), ("refused", Some("old".to_owned())));
    }

    #[test]
    fn what_waits_for_its_turn_is_told() {
        let hooks = Attachments::default();
        hooks.waits("tc", (NETNS, 2));
        hooks.waits("tc", (NETNS, 3));
        hooks.attached("tc", (NETNS, 2));
        let told = "attached 1 of 2, the others follow".to_owned();
        assert_eq!(hooks.state("tc"), ("attaching", Some(told)));
        hooks.refused("tc", (NetnsId(8), 2), "no".to_owned());
        assert_eq!(hooks.state("tc"), ("partial", Some("attached 1 of 3: no".to_owned())));
        hooks.retain("tc", NetnsId(8), |_| false);
        hooks.retain("tc", NETNS, |index| index == 2);
        assert_eq!(hooks.state("tc"), ("attached", None));
    }
}
