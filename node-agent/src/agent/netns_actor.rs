//! What the netns thread does inside each netns: attaches the kernel programs, and measures how long a scan takes.

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::netns::NetnsFacts;
use prometheus_client::metrics::histogram::Histogram;

use crate::agent::scan_time::Timed;
use crate::source::kernel::{LookupScope, NetnsPrograms};
use crate::source::netns::look::Interface;
use crate::source::netns::{NetnsActor, NoActor};

/// Attaches the programs of a netns while the netns thread is inside.
pub struct Attach {
    pub programs: NetnsPrograms,
    /// True if the hooks of the root cgroup report every socket.
    pub has_socket_events: bool,
}

impl NetnsActor for Attach {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        // tc is attached to no interface of the host.
        let lookups = if facts.is_host { LookupScope::All } else { LookupScope::Inside };
        self.programs.reconcile(facts.netns, interfaces, lookups)
    }

    fn act(&mut self, netns: NetnsId) -> bool {
        self.programs.attach_next(netns)
    }

    fn has_socket_events(&self) -> bool {
        self.has_socket_events
    }

    fn gone(&mut self, netns: NetnsId) {
        self.programs.detach(netns);
    }

    fn must_leave(&self, netns: NetnsId) -> bool {
        self.programs.has_filters(netns)
    }

    fn leave(&mut self, netns: NetnsId) {
        self.programs.remove_filters(netns);
    }
}

/// Returns the actor of the netns thread. `attach`: `None` with `--scan-only`.
pub fn actor(attach: Option<Attach>, scan_durations: Histogram) -> Box<dyn NetnsActor> {
    let actor: Box<dyn NetnsActor> = match attach {
        Some(attach) => Box::new(attach),
        None => Box::new(NoActor),
    };
    Box::new(Timed::new(actor, scan_durations))
}
