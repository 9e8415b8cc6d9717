//! What lists filter by, borrowed from the state: of many thousand ports, only those that are asked for are rendered.

use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::Arc;

use super::Engine;
use super::change::{Finding, Listener, ListenerState, Origin, PodRef};
use super::crowd::CrowdOf;
use super::finding_code::FindingCode;
use super::finding_store::{FindingRecord, Subject};
use super::identity::{PortId, Protocol};
use super::pod_index::PodKey;
use super::port::Port;

/// The short of an open listener or finding.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
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

impl Outline<'_> {
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
    pub fn listener_outlines(&self, after: Option<u64>) -> impl Iterator<Item = Outline<'_>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.ids.range((from, Bound::Unbounded));
        ids.filter_map(|(id, port_id)| Some(self.outline(*id, *port_id, self.ports.get(port_id)?)))
    }

    /// The open and suppressed findings after this id, in the order of ids.
    pub fn finding_outlines(&self, after: Option<u64>) -> impl Iterator<Item = Outline<'_>> {
        self.findings.after(after).map(|(id, record)| self.finding_outline(id, record))
    }

    /// The open listener of an outline.
    #[must_use]
    pub fn listener_of(&self, id: u64) -> Option<Arc<Listener>> {
        let port_id = *self.ids.get(&id)?;
        let port = self.ports.get(&port_id)?;
        Some(Arc::new(self.render_listener(port_id, port, ListenerState::Open)))
    }

    /// The finding of an outline.
    #[must_use]
    pub fn finding_of(&self, id: u64) -> Option<Arc<Finding>> {
        self.render_finding(id, self.findings.get(id)?).map(Arc::new)
    }

    fn outline<'a>(&'a self, id: u64, port_id: PortId, port: &'a Port) -> Outline<'a> {
        Outline {
            id,
            pod: port.pod.and_then(|pod| self.pod_ref(pod)),
            protocol: Some(port_id.protocol),
            port: Some(port_id.port),
            code: None,
            is_suppressed: false,
            traffic: Some(port),
        }
    }

    fn finding_outline<'a>(&'a self, id: u64, record: &FindingRecord) -> Outline<'a> {
        let is_suppressed = record.stand.suppressed_by.is_some();
        let (pod, about) = match record.subject {
            Subject::Port(port_id) => {
                let port = self.ports.get(&port_id);
                let outline = port.map(|port| self.outline(id, port_id, port));
                let (pod, traffic) = outline.map_or((None, None), |outline| (outline.pod, outline.traffic));
                let (protocol, port) = (Some(port_id.protocol), Some(port_id.port));
                return Outline {
                    id,
                    pod,
                    protocol,
                    port,
                    code: Some(record.stand.code),
                    is_suppressed,
                    traffic,
                };
            }
            Subject::Stale(pod, protocol, port) | Subject::Dangling(pod, protocol, port) => {
                (Some(pod), Some((protocol, port)))
            }
            Subject::Storm(CrowdOf::Pod(pod)) | Subject::Opaque(pod) => (Some(pod), None),
            Subject::Storm(CrowdOf::Netns(_)) => (None, None),
        };
        Outline {
            id,
            pod: pod.and_then(|pod| self.pod_ref(pod)),
            protocol: about.map(|(protocol, _)| protocol),
            port: about.map(|(_, port)| port),
            code: Some(record.stand.code),
            is_suppressed,
            traffic: None,
        }
    }

    fn pod_ref(&self, pod: PodKey) -> Option<&PodRef> {
        self.pods.get(pod).map(|record| &*record.reference)
    }
}
