//! Summaries that lists filter by, borrowed from the state. Only the listeners and findings that pass the filter are
//! rendered.

use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::finding::Finding;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::listener::{Listener, ListenerState};
use crate::model::pod::PodRef;
use crate::model::traffic::Origin;
use crate::state::findings::{FindingRecord, Subject};
use crate::state::port::Port;
use crate::state::storms::StormScope;

/// The short of an open listener or finding.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    pub id: u64,
    pub pod: Option<&'a PodRef>,
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
    /// `None`: it is a listener.
    pub code: Option<FindingCode>,
    /// A finding that an exception suppresses.
    pub is_suppressed: bool,
    traffic: Option<&'a Port>,
}

impl Summary<'_> {
    /// Where its peers are, each place once.
    #[must_use]
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.traffic.iter().flat_map(|port| port.traffic.origins()).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}

impl Engine {
    /// The open listeners after this id, in the order of ids.
    pub fn listener_summaries(&self, after: Option<u64>) -> impl Iterator<Item = Summary<'_>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.ids.range((from, Bound::Unbounded));
        ids.filter_map(|(id, port_id)| Some(self.port_summary(*id, *port_id, self.ports.get(port_id)?)))
    }

    /// The open and suppressed findings after this id, in the order of ids.
    pub fn finding_summaries(&self, after: Option<u64>) -> impl Iterator<Item = Summary<'_>> {
        self.findings.after(after).map(|(id, record)| self.finding_summary(id, record))
    }

    /// The open listener of an outline.
    #[must_use]
    pub fn listener_by_id(&self, id: u64) -> Option<Arc<Listener>> {
        let port_id = *self.ids.get(&id)?;
        let port = self.ports.get(&port_id)?;
        Some(Arc::new(self.render_listener(port_id, port, ListenerState::Open)))
    }

    /// The finding of an outline.
    #[must_use]
    pub fn finding_by_id(&self, id: u64) -> Option<Arc<Finding>> {
        self.render_finding(id, self.findings.get(id)?).map(Arc::new)
    }

    fn port_summary<'a>(&'a self, id: u64, port_id: PortId, port: &'a Port) -> Summary<'a> {
        Summary {
            id,
            pod: port.pod.and_then(|pod| self.pod_ref(pod)),
            protocol: Some(port_id.protocol),
            port: Some(port_id.port),
            code: None,
            is_suppressed: false,
            traffic: Some(port),
        }
    }

    fn finding_summary<'a>(&'a self, id: u64, record: &FindingRecord) -> Summary<'a> {
        let is_suppressed = record.assessment.suppressed_by.is_some();
        let (pod, about) = match record.subject {
            Subject::Port(port_id) => {
                let port = self.ports.get(&port_id);
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
                    traffic,
                };
            }
            Subject::Stale(pod, protocol, port) | Subject::Dangling(pod, protocol, port) => {
                (Some(pod), Some((protocol, port)))
            }
            Subject::Storm(StormScope::Pod(pod)) | Subject::Opaque(pod) => (Some(pod), None),
            Subject::Storm(StormScope::Netns(_)) => (None, None),
        };
        Summary {
            id,
            pod: pod.and_then(|pod| self.pod_ref(pod)),
            protocol: about.map(|(protocol, _)| protocol),
            port: about.map(|(_, port)| port),
            code: Some(record.assessment.code),
            is_suppressed,
            traffic: None,
        }
    }

    fn pod_ref(&self, pod: PodKey) -> Option<&PodRef> {
        self.pods.get(pod).map(|record| &*record.reference)
    }
}
