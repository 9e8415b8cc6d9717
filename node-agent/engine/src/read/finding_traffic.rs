//! Totals of the traffic to the port of a finding, without rendering the finding.

use crate::engine::Engine;
use crate::model::identity::Protocol;
use crate::model::traffic::Traffic;

impl Engine {
    /// Returns the protocol of the port that an open or suppressed finding is about, and the totals of its traffic. They have
    /// no peers. `None` if there is no such finding, or it is not about one served port.
    #[must_use]
    pub fn finding_traffic(&self, id: u64) -> Option<(Protocol, Traffic)> {
        let port_id = self.findings.get(id)?.subject.port()?;
        let port = self.ports.get(port_id)?;
        let mut traffic = Traffic { since: port.counted_since(), ..Traffic::default() };
        port.traffic().add_to(port_id.protocol, &mut traffic);
        Some((port_id.protocol, traffic))
    }
}
