//! Losses that one busy port causes in every second: one line tells those of a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_engine::model::change::Loss;
use portolan_engine::model::identity::BootTime;

/// Time between two lines about the same reason.
const EVERY: Duration = Duration::from_secs(60);

/// What was lost since the last line about a reason, and when the next line is due.
#[derive(Debug, Default)]
struct Held {
    count: u64,
    due: BootTime,
}

/// Losses that wait for their line. Their counts in the status and the metrics do not wait.
#[derive(Debug, Default)]
pub(super) struct LossLines(BTreeMap<&'static str, Held>);

impl LossLines {
    /// Returns the loss that gets a line now, with all of its reason that waited; `None` if it waits.
    pub fn offer(&mut self, loss: &Loss, now: BootTime) -> Option<Loss> {
        if !is_repeated(loss.reason) {
            return Some(loss.clone());
        }
        let held = self.0.entry(loss.reason).or_default();
        held.count = held.count.saturating_add(loss.count);
        held.take(loss.reason, now)
    }

    /// Returns the losses whose line is due.
    pub fn due(&mut self, now: BootTime) -> Vec<Loss> {
        self.0.iter_mut().filter_map(|(reason, held)| held.take(reason, now)).collect()
    }

    /// Returns all losses that wait.
    pub fn rest(&mut self) -> Vec<Loss> {
        self.due(BootTime(u64::MAX))
    }
}

impl Held {
    fn take(&mut self, reason: &'static str, now: BootTime) -> Option<Loss> {
        if self.count == 0 || now < self.due {
            return None;
        }
        self.due = now.after(EVERY);
        Some(Loss { reason, count: std::mem::take(&mut self.count), recovered: false })
    }
}

/// True for a loss that goes on for as long as a port is busy.
fn is_repeated(reason: &str) -> bool {
    reason == "connection-records-limited"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(reason: &'static str, count: u64) -> Loss {
        Loss { reason, count, recovered: false }
    }

    #[test]
    fn a_busy_port_has_one_line_in_a_minute_that_counts_all() {
        let mut lines = LossLines::default();
        let at = |seconds| BootTime(0).after(Duration::from_secs(seconds));
        let limited = |count| loss("connection-records-limited", count);
        assert_eq!(lines.offer(&limited(5), at(1)), Some(limited(5)), "the first is told at once");
        assert_eq!(lines.offer(&limited(6), at(2)), None);
        assert_eq!(lines.offer(&limited(7), at(60)), None);
        assert_eq!(lines.due(at(60)), []);
        assert_eq!(lines.due(at(61)), [limited(13)]);
        assert_eq!(lines.due(at(200)), [], "nothing was lost since");
        assert_eq!(lines.offer(&limited(1), at(200)), Some(limited(1)));
        assert_eq!(lines.offer(&limited(2), at(201)), None);
        assert_eq!(lines.rest(), [limited(2)], "nothing is left at the end");
    }

    #[test]
    fn any_other_loss_is_told_at_once() {
        let mut lines = LossLines::default();
        for _ in 0..3 {
            let full = loss("listener-ring-full", 2);
            assert_eq!(lines.offer(&full, BootTime(9)), Some(full.clone()));
        }
        assert_eq!(lines.rest(), []);
    }
}
