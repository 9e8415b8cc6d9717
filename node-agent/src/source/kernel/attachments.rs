//! Tracks per hook where programs are attached, waiting or refused. The netns thread writes, the status reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portolan_engine::model::identity::NetnsId;

/// A netns and the index of an interface in it; index 0 is the netns itself.
type AttachPoint = (NetnsId, u32);

#[derive(Debug, Default)]
struct Hook {
    /// Why the hook cannot be attached anywhere.
    unsupported: Option<String>,
    attached: BTreeSet<AttachPoint>,
    /// Attachments whose turn has not come yet.
    waiting: BTreeSet<AttachPoint>,
    refused: BTreeMap<AttachPoint, String>,
    latest: Option<AttachPoint>,
}

/// The attachments of all hooks, shared by the netns thread and the status.
#[derive(Clone, Debug, Default)]
pub(super) struct Attachments(Arc<Mutex<BTreeMap<&'static str, Hook>>>);

impl Attachments {
    fn change<T>(&self, hook: &'static str, change: impl FnOnce(&mut Hook) -> T) -> T {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(hooks.entry(hook).or_default())
    }

    /// Records that the kernel supports this hook unsupported.
    pub fn unsupported(&self, hook: &'static str, reason: String) {
        tracing::warn!(hook, "{reason}");
        self.change(hook, |hook| hook.unsupported = Some(reason));
    }

    /// Records that an attachment is tried soon. An earlier refusal stays until then.
    pub fn waiting(&self, hook: &'static str, point: AttachPoint) {
        self.change(hook, |hook| {
            hook.attached.remove(&point);
            if !hook.refused.contains_key(&point) {
                hook.waiting.insert(point);
            }
        });
    }

    pub fn attached(&self, hook: &'static str, point: AttachPoint) {
        self.change(hook, |hook| {
            hook.refused.remove(&point);
            hook.waiting.remove(&point);
            hook.attached.insert(point);
        });
    }

    /// Records a refusal. Logs a warning if the attachment was not refused before.
    pub fn refused(&self, hook: &'static str, point: AttachPoint, reason: String) {
        let is_new = self.change(hook, |hook| {
            hook.attached.remove(&point);
            hook.waiting.remove(&point);
            hook.latest = Some(point);
            hook.refused.insert(point, reason.clone()).is_none()
        });
        if is_new {
            tracing::warn!(hook, netns = point.0.0, "{reason}");
        }
    }

    /// Removes the interfaces of this netns for which `is_left` is false.
    pub fn retain(&self, hook: &'static str, netns: NetnsId, is_left: impl Fn(u32) -> bool) {
        self.change(hook, |hook| {
            let points = (netns, 0)..=(netns, u32::MAX);
            hook.attached.extract_if(points.clone(), |point| !is_left(point.1)).for_each(drop);
            hook.waiting.extract_if(points.clone(), |point| !is_left(point.1)).for_each(drop);
            hook.refused.extract_if(points, |point, _| !is_left(point.1)).for_each(drop);
        });
    }

    /// State as status names it, and the latest reason that still stands.
    pub fn state(&self, hook: &'static str) -> (&'static str, Option<String>) {
        self.change(hook, |hook| {
            if let Some(reason) = &hook.unsupported {
                return ("refused", Some(reason.clone()));
            }
            let attached = hook.attached.len();
            let all = attached + hook.waiting.len() + hook.refused.len();
            let latest = hook.latest.and_then(|point| hook.refused.get(&point));
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
    fn a_refusal_stays_until_attached_or_gone() {
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
        hooks.waiting("tc", (NETNS, 3));
        assert_eq!(hooks.state("tc").0, "refused", "until it is tried again");
        hooks.unsupported("tc", "old".to_owned());
        assert_eq!(hooks.state("tc"), ("refused", Some("old".to_owned())));
    }

    #[test]
    fn waiting_attachments_are_reported() {
        let hooks = Attachments::default();
        hooks.waiting("tc", (NETNS, 2));
        hooks.waiting("tc", (NETNS, 3));
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
