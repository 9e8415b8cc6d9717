//! Record of how the watches of one kind end. A server that opens each watch and ends it at once answers every request, so
//! nothing else shows that no change arrives.

use crate::kubernetes_api::fault::{ApiFault, Remedy};

/// Consecutive watches that ended before they worked, after which even an ordinary end is a fault. One or two such ends
/// happen while a server restarts.
const TOO_MANY: u32 = 3;

/// How the latest watches ended.
#[derive(Debug, Default)]
pub struct WatchRecord {
    /// A watch is open and has neither delivered an event nor lasted.
    unproven: bool,
    /// Number of consecutive watches that ended while unproven.
    failed: u32,
}

impl WatchRecord {
    /// Records that the server opened a watch.
    pub fn opened(&mut self) {
        self.unproven = true;
    }

    /// Records that the open watch works. Returns true if the ones before it had failed.
    pub fn works(&mut self) -> bool {
        self.unproven = false;
        std::mem::take(&mut self.failed) > 0
    }

    /// Records that the server does not serve a watch of this form, so that its end says nothing about the others.
    pub fn dismissed(&mut self) {
        self.unproven = false;
    }

    /// Records the end of the open watch, if there is one.
    pub fn ended(&mut self, fault: &ApiFault) {
        if std::mem::take(&mut self.unproven) {
            // A server in trouble may end any watch. What it says about this one is true of the next, too.
            let is_about_it = !fault.is_ordinary() && fault.remedy() != Remedy::TakeTurns;
            self.failed = if is_about_it { TOO_MANY } else { self.failed.saturating_add(1) };
        }
    }

    /// True if the open watch has not shown yet that it works.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// True if watches ended at once so often, or for such a reason, that this is a fault.
    #[must_use]
    pub fn keep_ending(&self) -> bool {
        self.failed >= TOO_MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_end_at_once_are_a_fault_until_one_works() {
        let mut record = WatchRecord::default();
        record.ended(&ApiFault::ShortLived);
        for count in 1..=TOO_MANY {
            assert!(!record.keep_ending(), "{count}");
            record.opened();
            record.ended(&ApiFault::Expired);
        }
        assert!(record.keep_ending());
        record.opened();
        assert!(record.is_unproven() && record.works() && !record.keep_ending());
        record.ended(&ApiFault::ShortLived);
        record.opened();
        record.dismissed();
        record.ended(&ApiFault::ShortLived);
        assert!(!record.works(), "a watch that worked may end, and one that is not served says nothing");
    }

    #[test]
    fn what_the_server_says_about_a_watch_is_a_fault_at_once() {
        for (code, is_fault) in [(406, true), (400, true), (500, false), (503, false)] {
            let mut record = WatchRecord::default();
            record.opened();
            record.ended(&ApiFault::Refused { code, reason: String::new(), retry_after: None });
            assert_eq!(record.keep_ending(), is_fault, "{code}");
        }
    }
}
