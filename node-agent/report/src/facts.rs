//! What a filter looks at, borrowed from an engine type or a report: one filter serves lists, watch and `scan`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::{connection, finding, listener, pod, traffic};
use portolan_engine::read::summary::Summary;

use crate::wire::{self, Report};

/// The fields that filters know. `None`: this object has no such thing, so a filter on it leaves the object out.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    pub kind: &'static str,
    pub namespace: Option<&'a str>,
    pub pod: Option<&'a str>,
    /// Kind and name.
    pub workload: Option<(&'a str, &'a str)>,
    /// Of the pod; a report does not hold them.
    pub labels: Option<&'a Arc<BTreeMap<String, String>>>,
    pub code: Option<&'a str>,
    pub severity: Option<&'a str>,
    pub state: Option<&'a str>,
    pub protocol: Option<&'a str>,
    pub port: Option<u16>,
    pub origins: Vec<&'a str>,
}

/// A pod's names, from the engine's type or the wire's.
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

    /// Of an open listener or finding; where its peers are only if `origins`, since they may be many.
    #[must_use]
    pub fn of_outline(outline: &Summary<'a>, origins: bool) -> Self {
        Self {
            code: outline.code.map(FindingCode::as_str),
            severity: outline.code.map(|code| code.severity().as_str()),
            state: Some(if outline.is_suppressed { "suppressed" } else { "open" }),
            protocol: outline.protocol.map(Protocol::as_str),
            port: outline.port.map(NonZeroU16::get),
            origins: if origins {
                outline.origins().into_iter().map(traffic::Origin::as_str).collect()
            } else {
                Vec::new()
            },
            ..Self::of_pod(
                if outline.code.is_some() { "Finding" } else { "Listener" },
                outline.pod.map(PodNames::from),
            )
        }
    }

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

/// [`Facts`] that outlive their object.
#[derive(Debug)]
pub enum KeptFacts {
    /// Without the object, which may be large.
    Copied(Box<CopiedFacts>),
    /// A connection is small, and there are many.
    Connection(Arc<connection::Connection>),
}

/// See [`KeptFacts::Copied`].
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
    /// Each once.
    origins: Vec<Box<str>>,
}

impl KeptFacts {
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

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Copied(facts) => facts.kind,
            Self::Connection(_) => "Connection",
        }
    }

    #[must_use]
    pub fn borrow(&self) -> Facts<'_> {
        match self {
            Self::Copied(facts) => facts.borrow(),
            Self::Connection(connection) => Facts::of_connection(connection),
        }
    }

    /// Bytes that it holds beside itself.
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
