//! The engine's state in five parts. Functions borrow the parts that they need, so borrows of different parts never
//! conflict.

use crate::model::options::EngineOptions;
use crate::state::agenda::Agenda;
use crate::state::facts::Facts;
use crate::state::findings::Findings;
use crate::state::outbox::Outbox;
use crate::state::ports::Ports;

/// The state of one node, and the only place that decides. Driven by `apply` and `tick`; all else only reads it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) facts: Facts,
    pub(crate) ports: Ports,
    pub(crate) findings: Findings,
    pub(crate) outbox: Outbox,
    pub(crate) agenda: Agenda,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self {
            facts: Facts::new(&options),
            ports: Ports::new(options.max_listeners),
            findings: Findings::default(),
            outbox: Outbox::default(),
            agenda: Agenda::default(),
            options,
        }
    }
}
