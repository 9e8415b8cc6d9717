//! Measures how long the scan of a netns takes, beside whatever else is done inside.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use crate::engine::identity::NetnsId;
use crate::engine::input::NetnsFacts;
use crate::source::netns::NetnsActor;
use crate::source::netns::look::Interface;

/// An actor whose scans are measured.
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
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) {
        self.actor.enter(facts, interfaces);
    }

    fn hears_of_sockets(&self) -> bool {
        self.actor.hears_of_sockets()
    }

    fn scanned(&mut self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
        self.actor.scanned(took);
    }

    fn gone(&mut self, netns: NetnsId) {
        self.actor.gone(netns);
    }

    fn leave(&mut self, netns: NetnsId) {
        self.actor.leave(netns);
    }
}
