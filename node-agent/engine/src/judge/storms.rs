//! Counts the ports that make findings per pod or netns, and reports storms that begin, grow or end.

use crate::engine::Engine;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::{Owner, storm_id};
use crate::model::identity::{BootTime, PortId};
use crate::state::findings::Subject;
use crate::state::storms::{StormChange, StormScope};

impl Engine {
    /// Counts a port among those that make findings, or not any more.
    pub(crate) fn update_storm(&mut self, of: StormScope, id: PortId, code: Option<FindingCode>) {
        let storm = match of {
            StormScope::Pod(key) => self.pods.get_mut(key).map(|record| &mut record.storm),
            StormScope::Netns(netns) => self.netns.get_mut(netns).map(|netns| &mut netns.storm),
        };
        let turn = storm.and_then(|storm| storm.update(id, code, self.options.storm_ports, &mut self.dirty));
        self.storms.extend(turn.map(|turn| (of, turn)));
    }

    /// Tells storms that began, grew markedly, or ended since.
    pub(crate) fn emit_storms(&mut self, now: BootTime) {
        for (of, turn) in std::mem::take(&mut self.storms) {
            let (id, code) = match of {
                StormScope::Pod(key) => {
                    let Some(record) = self.pods.get(key) else { continue };
                    (storm_id(Owner::Pod(&record.pod.uid)), FindingCode::PortStorm)
                }
                // A crowd does not make worse what cannot be judged.
                StormScope::Netns(netns) => (storm_id(Owner::Netns(netns)), FindingCode::Unattributed),
            };
            match turn {
                StormChange::Began => self.raise_pod_finding(id, Subject::Storm(of), code, now, now),
                StormChange::Grew => self.emit_pod_finding(id, now),
                StormChange::Ended => self.resolve_pod_finding(id, now),
            }
        }
    }
}
