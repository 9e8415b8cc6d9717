//! What a later run of the agent should remember.

use crate::engine::Engine;
use crate::model::remembered::{RememberedFinding, RememberedPort};
use crate::state::findings::Subject;

impl Engine {
    /// Returns what is worth remembering over a restart: the open and suppressed findings, and what this run remembers
    /// and has not found again yet. In no particular order.
    #[must_use]
    pub fn findings_to_remember(&self) -> Vec<RememberedFinding> {
        let open = self.findings.iter().map(|(id, record)| {
            let port = match record.subject {
                Subject::Port(port) => {
                    let reach = self.ports.get(port).map(|port| port.reach()).unwrap_or_default();
                    Some(RememberedPort { netns: port.netns, reach })
                }
                Subject::Stale(..) | Subject::Dangling(..) | Subject::Storm(_) | Subject::Opaque(_) => None,
            };
            RememberedFinding { id, first_seen: record.first_seen, port }
        });
        let waiting =
            self.findings.remembered.iter().filter(|finding| self.findings.get(finding.id).is_none());
        open.chain(waiting.copied()).collect()
    }
}
