//! The properties of an object that a filter examines, taken from an engine type or from a report.
//!
//! Lists, `/v1/watch` and `portolan scan` hold different types of objects; this type lets one filter serve them all.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::{connection, finding, listener, pod, traffic};
use portolan_engine::read::summary::Summary;

use crate::wire::{self, Report};

/// Properties that a [`Filter`](crate::filter::Filter) can examine, borrowed from the object.
///
/// `None` means that the object lacks the property. A filter on that property then excludes the object.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Value of `kind`.
    pub kind: &'static str,
    /// Kubernetes namespace of the pod.
    pub namespace: Option<&'a str>,
    /// Name of the pod.
    pub pod: Option<&'a str>,
    /// Kind and name of the workload.
    pub workload: Option<(&'a str, &'a str)>,
    /// Labels of the pod; `None` for a report that was parsed from JSON.
    pub labels: Option<&'a Arc<BTreeMap<String, String>>>,
    /// Code of the finding.
    pub code: Option<&'a str>,
    /// Severity of the finding.
    pub severity: Option<&'a str>,
    /// State of the finding, listener or connection.
    pub state: Option<&'a str>,
    /// Protocol of the port.
    pub protocol: Option<&'a str>,
    /// Port number.
    pub port: Option<u16>,
    /// Origin of each peer.
    pub origins: Vec<&'a str>,
}

/// Names and labels of a pod, from the engine's type or from the wire type.
#[derive(Clone, Copy)]
struct PodNames<'a> {
    namespace: &'a str,
    name: &'a str,
    workload: Option<(&'a str, &'a str)>,
    labels: Option<&'a Arc<BTreeMap<String, String>>>,
}

impl<'a> From<&'a pod::PodRef> for PodNames<'a> {
    fn from(pod: &'a pod::PodRef) -> Self {
        let workload = pod.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name));
        let labels = Some(&pod.labels);
        Self { namespace: &pod.namespace, name: &pod.name, workload, labels }
    }
}

impl<'a> From<&'a wire::Pod> for PodNames<'a> {
    fn from(pod: &'a wire::Pod) -> Self {
        let workload = pod.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name));
        Self { namespace: &pod.namespace, name: &pod.name, workload, labels: pod.labels.as_ref() }
    }
}

impl<'a> Facts<'a> {
    fn of_pod(kind: &'static str, pod: Option<PodNames<'a>>) -> Self {
        Self {
            kind,
            namespace: pod.map(|pod| pod.namespace),
            pod: pod.map(|pod| pod.name),
            workload: pod.and_then(|pod| pod.workload),
            labels: pod.and_then(|pod| pod.labels),
            ..Self::default()
        }
    }

    /// Returns the facts of an open listener or finding. Fills in `origins` only on request, because an object may have
    /// many peers.
    #[must_use]
    pub fn of_summary(summary: &Summary<'a>, origins: bool) -> Self {
        Self {
            code: summary.code.map(FindingCode::as_str),
            severity: summary.code.map(|code| code.severity().as_str()),
            state: Some(if summary.is_suppressed { "suppressed" } else { "open" }),
            protocol: summary.protocol.map(Protocol::as_str),
            port: summary.port.map(NonZeroU16::get),
            origins: if origins {
                summary.origins().into_iter().map(traffic::Origin::as_str).collect()
            } else {
                Vec::new()
            },
            ..Self::of_pod(
                if summary.code.is_some() { "Finding" } else { "Listener" },
                summary.pod.map(PodNames::from),
            )
        }
    }

    /// Returns the facts of an engine's finding.
    #[must_use]
    pub fn of_finding(finding: &'a finding::Finding) -> Self {
        Self {
            code: Some(finding.code.as_str()),
            severity: Some(finding.code.severity().as_str()),
            state: Some(finding.state.as_str()),
            protocol: finding.protocol.map(Protocol::as_str),
            port: finding.port.map(NonZeroU16::get),
            origins: finding.traffic.peers.iter().map(|peer| peer.origin.as_str()).collect(),
            ..Self::of_pod("Finding", finding.pod.as_ref().map(PodNames::from))
        }
    }

    /// Returns the facts of an engine's listener.
    #[must_use]
    pub fn of_listener(listener: &'a listener::Listener) -> Self {
        Self {
            state: Some(if listener.state == listener::ListenerState::Open { "open" } else { "closed" }),
            protocol: Some(listener.port.protocol.as_str()),
            port: Some(listener.port.port.get()),
            origins: listener.traffic.peers.iter().map(|peer| peer.origin.as_str()).collect(),
            ..Self::of_pod("Listener", listener.pod.as_ref().map(PodNames::from))
        }
    }

    /// Returns the facts of an engine's connection.
    #[must_use]
    pub fn of_connection(connection: &'a connection::Connection) -> Self {
        Self {
            state: Some(if connection.closed_at.is_none() { "open" } else { "closed" }),
            protocol: Some(connection.port.protocol.as_str()),
            port: Some(connection.port.port.get()),
            origins: vec![connection.origin.as_str()],
            ..Self::of_pod("Connection", connection.pod.as_deref().map(PodNames::from))
        }
    }

    /// Returns the facts of a report.
    #[must_use]
    pub fn of_report(report: &'a Report) -> Self {
        let origins = |traffic: &'a wire::Traffic| -> Vec<&'a str> {
            traffic.peers.iter().map(|peer| peer.origin.as_str()).collect()
        };
        match report {
            Report::Finding(finding) => Self {
                code: Some(&finding.code),
                severity: Some(&finding.severity),
                state: Some(&finding.state),
                protocol: finding.protocol.as_deref(),
                port: finding.port,
                origins: origins(&finding.traffic),
                ..Self::of_pod("Finding", finding.pod.as_ref().map(PodNames::from))
            },
            Report::Listener(listener) => Self {
                state: Some(&listener.state),
                protocol: Some(&listener.protocol),
                port: Some(listener.port),
                origins: origins(&listener.traffic),
                ..Self::of_pod("Listener", listener.pod.as_ref().map(PodNames::from))
            },
            Report::Connection(connection) => Self {
                state: Some(if connection.closed_at.is_none() { "open" } else { "closed" }),
                protocol: Some(&connection.protocol),
                port: Some(connection.local.port),
                origins: vec![&connection.remote.origin],
                ..Self::of_pod("Connection", connection.pod.as_ref().map(PodNames::from))
            },
            Report::Loss(_) => Self { kind: "Loss", ..Self::default() },
            Report::AgentStatus(_) => Self { kind: "AgentStatus", ..Self::default() },
        }
    }
}

/// Owned form of [`Facts`], for objects that are kept only as JSON.
#[derive(Debug)]
pub enum OwnedFacts {
    /// Copies of the properties. The object itself may be large and is not kept.
    Copied(Box<CopiedFacts>),
    /// The connection itself: it is small, and sharing it avoids a copy for each of many connections.
    Connection(Arc<connection::Connection>),
}

/// Copies of the properties in [`Facts`].
#[derive(Debug)]
pub struct CopiedFacts {
    kind: &'static str,
    namespace: Option<Box<str>>,
    pod: Option<Box<str>>,
    workload: Option<(Box<str>, Box<str>)>,
    labels: Option<Arc<BTreeMap<String, String>>>,
    code: Option<Box<str>>,
    severity: Option<Box<str>>,
    state: Option<Box<str>>,
    protocol: Option<Box<str>>,
    port: Option<u16>,
    /// Distinct origins of the peers, sorted.
    origins: Vec<Box<str>>,
}

impl OwnedFacts {
    /// Copies borrowed facts.
    #[must_use]
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut origins = facts.origins.clone();
        origins.sort_unstable();
        origins.dedup();
        Self::Copied(Box::new(CopiedFacts {
            kind: facts.kind,
            namespace: facts.namespace.map(Into::into),
            pod: facts.pod.map(Into::into),
            workload: facts.workload.map(|(kind, name)| (kind.into(), name.into())),
            labels: facts.labels.map(Arc::clone),
            code: facts.code.map(Into::into),
            severity: facts.severity.map(Into::into),
            state: facts.state.map(Into::into),
            protocol: facts.protocol.map(Into::into),
            port: facts.port,
            origins: origins.into_iter().map(Into::into).collect(),
        }))
    }

    /// Returns the value of `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Copied(facts) => facts.kind,
            Self::Connection(_) => "Connection",
        }
    }

    /// Borrows the facts for a filter.
    #[must_use]
    pub fn borrow(&self) -> Facts<'_> {
        match self {
            Self::Copied(facts) => facts.borrow(),
            Self::Connection(connection) => Facts::of_connection(connection),
        }
    }

    /// Returns the number of heap bytes that these facts hold, for the memory budget.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Copied(facts) => size_of::<CopiedFacts>() + facts.heap_bytes(),
            Self::Connection(_) => size_of::<connection::Connection>(),
        }
    }
}

impl CopiedFacts {
    fn borrow(&self) -> Facts<'_> {
        Facts {
            kind: self.kind,
            namespace: self.namespace.as_deref(),
            pod: self.pod.as_deref(),
            workload: self.workload.as_ref().map(|(kind, name)| (&**kind, &**name)),
            labels: self.labels.as_ref(),
            code: self.code.as_deref(),
            severity: self.severity.as_deref(),
            state: self.state.as_deref(),
            protocol: self.protocol.as_deref(),
            port: self.port,
            origins: self.origins.iter().map(|origin| &**origin).collect(),
        }
    }

    fn heap_bytes(&self) -> usize {
        let facts = self.borrow();
        let texts = [facts.namespace, facts.pod, facts.code, facts.severity, facts.state, facts.protocol];
        let workload = facts.workload.map_or(0, |(kind, name)| kind.len() + name.len());
        let origins: usize = self.origins.iter().map(|origin| origin.len() + size_of::<Box<str>>()).sum();
        texts.into_iter().flatten().map(str::len).sum::<usize>() + workload + origins
    }
}
