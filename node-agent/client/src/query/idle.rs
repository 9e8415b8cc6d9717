//! `--idle` of `listeners`: keeps the ports that were not called for a time, and says which are left out because that is not known.

use portolan_report::idle::{self, Idle, Period, Reason, Usage};
use portolan_report::idle_table;
use portolan_report::table::Width;
use portolan_report::wire::Listener;
use serde_json::Value;

use super::console::Console;
use super::error::QueryError;
use super::show::{self, FormatError, Subject};

/// The idle ports of a list.
pub(crate) struct IdlePorts {
    period: Period,
    ports: Vec<(Listener, Idle)>,
    /// Node of each port of which it is not known whether it is idle, and the reason.
    left_out: Vec<(String, Reason)>,
}

impl IdlePorts {
    /// Removes the listeners that are not known to be idle from a list. The others stay as the agents wrote them.
    ///
    /// # Errors
    /// [`FormatError`] if a listener lacks a field.
    pub(crate) fn retain(items: &mut Vec<Value>, period: Period) -> Result<Self, FormatError> {
        let listeners: Vec<Listener> = show::typed(Subject::Listeners, items)?;
        let mut found = Self { period, ports: Vec::new(), left_out: Vec::new() };
        let mut kept = Vec::new();
        for (item, listener) in std::mem::take(items).into_iter().zip(listeners) {
            match idle::usage(&listener, period) {
                Usage::Idle(idle) => {
                    found.ports.push((listener, idle));
                    kept.push(item);
                }
                Usage::Called => {}
                Usage::Unknown(reason) => found.left_out.push((listener.envelope.node, reason)),
            }
        }
        *items = kept;
        Ok(found)
    }

    /// Writes the table, or a message that there is no idle port.
    pub(crate) fn write_table(&self, width: Width, console: &mut Console<'_>) -> Result<(), QueryError> {
        if self.ports.is_empty() {
            return console.message(&idle_table::none_idle(self.period));
        }
        console.write(&idle_table::table(&self.ports, width))
    }

    /// Says which ports are left out, and why.
    pub(crate) fn write_notes(&self, console: &mut Console<'_>) -> Result<(), QueryError> {
        idle_table::notes(&self.left_out, self.period).iter().try_for_each(|note| console.message(note))
    }
}
