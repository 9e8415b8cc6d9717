//! What could not be looked at, and why: the state of the netns source. An agent that cannot look at a netns must not appear
//! to have found nothing there.

use std::collections::BTreeMap;
use std::io;

/// Failures of the last walk, and of the last look at each netns.
#[derive(Debug, Default)]
pub(super) struct LookFailures {
    /// Why the last walk over processes and names is incomplete.
    walk: Option<String>,
    /// Why the last look failed, by inode.
    looks: BTreeMap<u64, String>,
}

impl LookFailures {
    /// Records the end of a walk. A complete walk also clears the failures of netns that it did not find.
    pub fn walked(&mut self, failure: Option<&io::Error>, is_found: impl Fn(u64) -> bool) {
        self.walk = failure.map(ToString::to_string);
        if failure.is_none() {
            self.looks.retain(|inode, _| is_found(*inode));
        }
    }

    /// Records a failed look at a netns that still exists. Returns true if the look before did not fail.
    pub fn failed(&mut self, inode: u64, error: &io::Error) -> bool {
        self.looks.insert(inode, error.to_string()).is_none()
    }

    /// Records a successful look, or that the netns is gone.
    pub fn cleared(&mut self, inode: u64) {
        self.looks.remove(&inode);
    }

    /// Returns true if the last look at every netns succeeded.
    #[must_use]
    pub fn no_look_failed(&self) -> bool {
        self.looks.is_empty()
    }

    /// Returns the failures as one line of text; `None` when there are none.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let walk = self.walk.as_ref().map(|error| format!("cannot look for network namespaces: {error}"));
        let looks =
            self.looks.values().next().map(|error| {
                format!("{} network namespaces could not be looked at: {error}", self.looks.len())
            });
        match (walk, looks) {
            (Some(walk), Some(looks)) => Some(format!("{walk}; {looks}")),
            (walk, looks) => walk.or(looks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_stay_until_a_look_succeeds_or_the_netns_is_gone() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let mut failures = LookFailures::default();
        assert_eq!(failures.reason(), None);
        assert!(failures.failed(1, &denied) && failures.failed(2, &denied) && !failures.failed(1, &denied));
        assert_eq!(
            failures.reason().as_deref(),
            Some("2 network namespaces could not be looked at: permission denied")
        );
        failures.cleared(1);
        failures.walked(Some(&denied), |_| false);
        assert!(!failures.no_look_failed(), "a walk that failed does not prove that a netns is gone");
        failures.walked(None, |_| false);
        assert!(failures.no_look_failed());
        assert_eq!(failures.reason(), None);
    }
}
