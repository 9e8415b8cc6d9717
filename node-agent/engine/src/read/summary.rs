//! Summaries that lists filter by, borrowed from the state. Only the listeners and findings that pass the filter are
//! rendered.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::finding::Finding;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, PodKey, PortId, Protocol};
use crate::model::listener::{Listener, ListenerState};
use crate::model::pod::PodRef;
use crate::model::traffic::Origin;
use crate::read::render;
use crate::state::findings::{FindingRecord, Subject};
use crate::state::port::Port;
use crate::state::storms::StormScope;

/// Key properties of an open listener or finding.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// Numeric id; see [`crate::model::fingerprint::hex`].
    pub id: u64,
    /// The pod, where known.
    pub pod: Option<&'a PodRef>,
    /// Protocol, if it is about a port.
    pub protocol: Option<Protocol>,
    /// Port number, if it is about a port.
    pub port: Option<NonZeroU16>,
    /// Code of the finding; `None` for a listener.
    pub code: Option<FindingCode>,
    /// True for a finding that an exception suppresses.
    pub is_suppressed: bool,
    /// When the finding last changed its code or state, or its condition began; 0 for a listener.
    pub changed_at: BootTime,
    /// The port whose peers count; `None` if there is none.
    traffic: Option<&'a Port>,
}

impl Summary<'_> {
    /// Returns where its peers are, sorted, each origin once.
    #[must_use]
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> =
            self.traffic.iter().flat_map(|port| port.traffic().origins()).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}

impl Engine {
    /// Returns the open listeners after this id, in the order of ids.
    pub fn listener_summaries(&self, after: Option<u64>) -> impl Iterator<Item = Summary<'_>> {
        let reported = self.ports.reported_after(after);
        reported.map(|(id, port_id, port)| self.port_summary(id, port_id, port))
    }

    /// Returns the open and suppressed findings after this id, in the order of ids.
    pub fn finding_summaries(&self, after: Option<u64>) -> impl Iterator<Item = Summary<'_>> {
        self.findings.after(after).map(|(id, record)| self.finding_summary(id, record))
    }

    /// Returns the open listener with this numeric id.
    #[must_use]
    pub fn listener_by_id(&self, id: u64) -> Option<Arc<Listener>> {
        let (port_id, port) = self.ports.reported_as(id)?;
        Some(Arc::new(render::listener(&self.facts, port_id, port, ListenerState::Open)))
    }

    /// Returns the open or suppressed finding with this numeric id.
    #[must_use]
    pub fn finding_by_id(&self, id: u64) -> Option<Arc<Finding>> {
        render::finding(&self.facts, &self.ports, id, self.findings.get(id)?).map(Arc::new)
    }

    fn port_summary<'a>(&'a self, id: u64, port_id: PortId, port: &'a Port) -> Summary<'a> {
        Summary {
            id,
            pod: port.pod.and_then(|pod| self.pod_ref(pod)),
            protocol: Some(port_id.protocol),
            port: Some(port_id.port),
            code: None,
            is_suppressed: false,
            changed_at: BootTime(0),
            traffic: Some(port),
        }
    }

    fn finding_summary<'a>(&'a self, id: u64, record: &FindingRecord) -> Summary<'a> {
        let is_suppressed = record.assessment.suppressed_by.is_some();
        let changed_at = record.changed_at.get().unwrap_or(record.first_seen);
        let (pod, (protocol, port)) = match record.subject {
            Subject::Port(port_id) => {
                let port = self.ports.get(port_id);
                let port_summary = port.map(|port| self.port_summary(id, port_id, port));
                let (pod, traffic) = port_summary
                    .map_or((None, None), |port_summary| (port_summary.pod, port_summary.traffic));
                let (protocol, port) = (Some(port_id.protocol), Some(port_id.port));
                return Summary {
                    id,
                    pod,
                    protocol,
                    port,
                    code: Some(record.assessment.code),
                    is_suppressed,
                    changed_at,
                    traffic,
                };
            }
            Subject::Stale(pod, protocol, port) | Subject::Dangling(pod, protocol, port) => {
                (Some(pod), (Some(protocol), Some(port)))
            }
            Subject::MissingName(pod, target) => {
                let missing = self.facts.pods.get(pod).and_then(|record| record.unserved.name(target));
                (Some(pod), (missing.map(|missing| missing.protocol), None))
            }
            Subject::Storm(StormScope::Pod(pod) | StormScope::QuietPod(pod)) | Subject::Opaque(pod) => {
                (Some(pod), (None, None))
            }
            Subject::Storm(StormScope::Netns(_)) => (None, (None, None)),
        };
        Summary {
            id,
            pod: pod.and_then(|pod| self.pod_ref(pod)),
            protocol,
            port,
            code: Some(record.assessment.code),
            is_suppressed,
            changed_at,
            traffic: None,
        }
    }

    fn pod_ref(&self, pod: PodKey) -> Option<&PodRef> {
        self.facts.pods.get(pod).map(|record| &*record.reference)
    }
}
