//! Measures how long the scan of a netns takes, around another actor.

use std::time::Duration;

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::netns::NetnsFacts;
use prometheus_client::metrics::histogram::Histogram;

use crate::source::netns::NetnsActor;
use crate::source::netns::look::Interface;

/// Adds the duration of each scan to a histogram, and passes every call on to the inner actor.
pub struct Timed {
    actor: Box<dyn NetnsActor>,
    durations: Histogram,
}

impl Timed {
    #[must_use]
    pub fn new(actor: Box<dyn NetnsActor>, durations: Histogram) -> Self {
        Self { actor, durations }
    }
}

impl NetnsActor for Timed {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        self.actor.enter(facts, interfaces)
    }

    fn act(&mut self, netns: NetnsId) -> bool {
        self.actor.act(netns)
    }

    fn has_socket_events(&self) -> bool {
        self.actor.has_socket_events()
    }

    fn scanned(&mut self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
        self.actor.scanned(took);
    }

    fn gone(&mut self, netns: NetnsId) {
        self.actor.gone(netns);
    }

    fn must_leave(&self, netns: NetnsId) -> bool {
        self.actor.must_leave(netns)
    }

    fn leave(&mut self, netns: NetnsId) {
        self.actor.leave(netns);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    /// Counts the calls of `scanned`.
    struct Counting(Arc<AtomicU32>);

    impl NetnsActor for Counting {
        fn enter(&mut self, _: &NetnsFacts, _: &[Interface]) -> bool {
            false
        }

        fn scanned(&mut self, _: Duration) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn gone(&mut self, _: NetnsId) {}
    }

    #[test]
    fn every_scan_is_measured_and_passed_on() {
        let scans = Arc::new(AtomicU32::new(0));
        let durations = Histogram::new([0.001, 1.0]);
        let mut registry = Registry::default();
        registry.register("scan_duration_seconds", "Time", durations.clone());
        let mut actor = Timed::new(Box::new(Counting(Arc::clone(&scans))), durations);
        actor.scanned(Duration::from_micros(500));
        actor.scanned(Duration::from_millis(500));
        assert_eq!(scans.load(Ordering::Relaxed), 2);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        for line in ["_count 2", "_sum 0.5005", "_bucket{le=\"0.001\"} 1", "_bucket{le=\"1.0\"} 2"] {
            assert!(text.contains(&format!("scan_duration_seconds{line}")), "{line} in {text}");
        }
    }
}
