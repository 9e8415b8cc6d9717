//! What a later run of the agent should remember.

use crate::engine::Engine;
use crate::model::remembered::{RememberedFinding, RememberedPort};
use crate::state::port::Port;

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
        let waiting =
            self.findings.remembered.iter().filter(|finding| self.findings.get(finding.id).is_none());
        open.chain(waiting.copied()).collect()
    }
}
