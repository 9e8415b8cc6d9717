//! What a later run of the agent should remember.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::model::identity::PortId;
use crate::model::remembered::{RememberedFinding, RememberedPort};
use crate::state::port::Port;
use crate::state::storms::StormScope;

impl Engine {
    /// Returns what is worth remembering over a restart: the open and suppressed findings, and what this run remembers
    /// and has not found again yet. In no particular order.
    #[must_use]
    pub fn findings_to_remember(&self) -> Vec<RememberedFinding> {
        let open = self.findings.iter().map(|(id, record)| {
            let port = record.subject.port().map(|id| {
                let reach = self.ports.get(id).map(Port::judged_reach).unwrap_or_default();
                RememberedPort { netns: id.netns, reach }
            });
            RememberedFinding { id, first_seen: record.first_seen, port }
        });
        let hidden = self.ports.iter().filter_map(|(id, port)| self.hidden_by_storm(id, port));
        let hidden: BTreeMap<u64, RememberedFinding> = hidden.map(|finding| (finding.id, finding)).collect();
        let waiting =
            self.findings.remembered.iter().filter(|finding| {
                self.findings.get(finding.id).is_none() && !hidden.contains_key(&finding.id)
            });
        open.chain(waiting.copied()).chain(hidden.values().copied()).collect()
    }

    /// Returns what a port would be remembered by whose finding a storm's replaces.
    fn hidden_by_storm(&self, id: PortId, port: &Port) -> Option<RememberedFinding> {
        let first_seen = port.bindings.as_ref().filter(|_| self.findings.get(port.id).is_none())?.first_at;
        let mut scopes = StormScope::all_of(port.pod, id.netns);
        let is_counted = scopes.any(|scope| self.facts.storm(scope).is_some_and(|storm| storm.contains(id)));
        let port_of = RememberedPort { netns: id.netns, reach: port.judged_reach() };
        is_counted.then_some(RememberedFinding { id: port.id, first_seen, port: Some(port_of) })
    }
}
