//! What could not be looked at, and why: the state of this source. An agent that cannot look must not seem to see nothing.

use std::collections::BTreeMap;
use std::io;

/// What stands between the thread and the whole node.
#[derive(Debug, Default)]
pub struct BlindSpots {
    /// Why the last walk over processes and names is not all.
    walk: Option<String>,
    /// By inode: why the last look failed.
    looks: BTreeMap<u64, String>,
}

impl BlindSpots {
    /// A walk ended; what it did not find is no blind spot any more if it was a whole one.
    pub fn walked(&mut self, failure: Option<&io::Error>, is_found: impl Fn(u64) -> bool) {
        self.walk = failure.map(ToString::to_string);
        if failure.is_none() {
            self.looks.retain(|inode, _| is_found(*inode));
        }
    }

    /// A look failed for another reason than that the netns is gone; true if the one before did not.
    pub fn failed(&mut self, inode: u64, error: &io::Error) -> bool {
        self.looks.insert(inode, error.to_string()).is_none()
    }

    /// A look succeeded.
    pub fn looked(&mut self, inode: u64) {
        self.looks.remove(&inode);
    }

    /// Every netns that was found could be looked at.
    #[must_use]
    pub fn all_were_looked_at(&self) -> bool {
        self.looks.is_empty()
    }

    /// One line for people; `None` when there are none.
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
    fn blind_spots_stay_until_they_are_looked_at_or_gone() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let mut spots = BlindSpots::default();
        assert_eq!(spots.reason(), None);
        assert!(spots.failed(1, &denied) && spots.failed(2, &denied) && !spots.failed(1, &denied));
        assert_eq!(
            spots.reason().as_deref(),
            Some("2 network namespaces could not be looked at: permission denied")
        );
        spots.looked(1);
        spots.walked(Some(&denied), |_| false);
        assert!(!spots.all_were_looked_at(), "a walk that failed tells of nothing that it is gone");
        spots.walked(None, |_| false);
        assert!(spots.all_were_looked_at());
        assert_eq!(spots.reason(), None);
    }
}
