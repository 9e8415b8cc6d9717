//! What the netns thread does inside each netns: attaches the kernel programs, and measures how long a scan takes.

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::netns::NetnsFacts;
use prometheus_client::metrics::histogram::Histogram;

use crate::agent::scan_time::Timed;
use crate::source::kernel::NetnsPrograms;
use crate::source::netns::look::Interface;
use crate::source::netns::{NetnsActor, OnlyLook};

/// Attaches the programs of a netns while the netns thread is inside.
pub struct Attach {
    pub programs: NetnsPrograms,
    /// True if the hooks of the root cgroup report every socket.
    pub hears_of_sockets: bool,
}

impl NetnsActor for Attach {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        self.programs.begin(facts.netns, interfaces)
    }

    fn act(&mut self, netns: NetnsId) -> bool {
        self.programs.attach_next(netns)
    }

    fn hears_of_sockets(&self) -> bool {
        self.hears_of_sockets
    }

    fn gone(&mut self, netns: NetnsId) {
        self.programs.detach(netns);
    }

    fn leave(&mut self, netns: NetnsId) {
        self.programs.remove_filters(netns);
    }
}

/// Returns the actor of the netns thread. `attach`: `None` with `--scan-only`.
pub fn actor(attach: Option<Attach>, scan_durations: Histogram) -> Box<dyn NetnsActor> {
    let actor: Box<dyn NetnsActor> = match attach {
        Some(attach) => Box::new(attach),
        None => Box::new(OnlyLook),
    };
    Box::new(Timed::new(actor, scan_durations))
}
