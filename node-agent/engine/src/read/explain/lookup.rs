//! Resolves the names of an explanation's target to pods, Services and ports, with hints where a name is unknown or
//! ambiguous.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::pod::{PortRef, named_port};
use crate::model::service::{Service, ServicePort};
use crate::read::explain::answer::{ExplainError, MAX_NAMED};
use crate::read::explain::target::{ObjectName, RequestedPort};
use crate::rules::declaration;
use crate::rules::declaration::service_targets;
use crate::state::pod_record::PodRecord;

impl Engine {
    /// Resolves a pod name.
    pub(crate) fn pod_called(&self, named: &ObjectName) -> Result<PodKey, ExplainError> {
        if let Some(namespace) = &named.namespace {
            let key =
                self.facts.pods.by_name(namespace, &named.name).filter(|key| self.facts.pods.is_live(*key));
            return key.ok_or_else(|| self.no_pod(named));
        }
        let called = self.facts.pods.live().filter(|(_, record)| record.pod.name == named.name);
        let mut found: Vec<(&str, PodKey)> =
            called.map(|(key, record)| (record.pod.namespace.as_str(), key)).collect();
        found.sort_unstable();
        match found.as_slice() {
            [] => Err(self.no_pod(named)),
            [(_, key)] => Ok(*key),
            [(first, _), .., (last, _)] if first == last => {
                self.facts.pods.by_name(first, &named.name).ok_or_else(|| self.no_pod(named))
            }
            _ => Err(ambiguous("pods", "", &named.name, found.iter().map(|(namespace, _)| *namespace))),
        }
    }

    /// Builds the error for an unknown pod, with a hint.
    fn no_pod(&self, named: &ObjectName) -> ExplainError {
        let also = self.facts.pods.live().filter(|(_, record)| record.pod.name == named.name);
        let mut also: Vec<String> =
            also.map(|(_, record)| format!("{}/{}", record.pod.namespace, record.pod.name)).collect();
        also.sort_unstable();
        let services =
            self.facts.services.iter().filter(|service| named.means(&service.namespace, &service.name));
        also.extend(services.map(|service| format!("svc/{}/{}", service.namespace, service.name)));
        also.truncate(MAX_NAMED);
        let hint = if also.is_empty() {
            "each agent knows the pods of its own node only: `kubectl get pod -A -o wide` says where a pod runs".to_owned()
        } else {
            format!("there is {}", also.join(", "))
        };
        ExplainError::NoPod { name: named.to_string(), hint }
    }

    /// Resolves a Service name.
    pub(crate) fn service_called(&self, named: &ObjectName) -> Result<Arc<Service>, ExplainError> {
        let mut found =
            self.facts.services.iter().filter(|service| named.means(&service.namespace, &service.name));
        let Some(first) = found.next() else {
            let mut also: Vec<String> = self
                .facts
                .services
                .iter()
                .filter(|service| service.name == named.name)
                .map(|service| format!("svc/{}/{}", service.namespace, service.name))
                .take(MAX_NAMED)
                .collect();
            if also.is_empty() && self.pod_called(named).is_ok() {
                also.push(format!("pod/{named}"));
            }
            let hint = if also.is_empty() {
                "`kubectl get svc -A` lists those of the cluster".to_owned()
            } else {
                format!("there is {}", also.join(", "))
            };
            return Err(ExplainError::NoService { name: named.to_string(), hint });
        };
        let others: Vec<&str> = found.map(|service| service.namespace.as_str()).collect();
        if others.is_empty() {
            return Ok(Arc::clone(first));
        }
        let all = std::iter::once(first.namespace.as_str()).chain(others);
        Err(ambiguous("Services", "svc/", &named.name, all))
    }

    /// Resolves a port of a pod, for every protocol of which something is known.
    pub(crate) fn ports_asked(
        &self,
        key: PodKey,
        record: &PodRecord,
        asked: &RequestedPort,
    ) -> Result<Vec<(Protocol, NonZeroU16)>, ExplainError> {
        let protocols =
            Protocol::ALL.into_iter().filter(|one| asked.protocol.is_none_or(|wanted| wanted == *one));
        match &asked.port {
            PortRef::Number(port) => {
                let netns = self.facts.netns_of(key);
                let is_known = |protocol: &Protocol| {
                    let id = netns.map(|netns| PortId { netns, protocol: *protocol, port: *port });
                    id.is_some_and(|id| record.ports.contains(&id) && self.is_served(&id))
                        || record.ports.iter().any(|id| (id.protocol, id.port) == (*protocol, *port))
                        || declaration::is_declared(&record.pod, *protocol, *port)
                        || service_targets(record.manifests()).any(|target| target == (*protocol, *port))
                };
                let known: Vec<_> = protocols.filter(is_known).map(|protocol| (protocol, *port)).collect();
                let nothing = (asked.protocol.unwrap_or(Protocol::Tcp), *port);
                Ok(if known.is_empty() { vec![nothing] } else { known })
            }
            PortRef::Name(name) => {
                let found: Vec<_> = protocols
                    .filter_map(|protocol| Some((protocol, named_port(&record.pod, name, protocol)?)))
                    .collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                let declared = record.pod.containers.iter().flat_map(|container| &container.ports);
                let names = declared.filter_map(|port| port.name.clone()).take(MAX_NAMED);
                let names: Vec<String> = names.collect();
                Err(ExplainError::NoPort {
                    what: "pod",
                    name: record.label.to_string(),
                    port: asked.to_string(),
                    known: if names.is_empty() { "no named ports".to_owned() } else { names.join(", ") },
                })
            }
        }
    }

    /// Returns true if a socket serves the port.
    pub(crate) fn is_served(&self, id: &PortId) -> bool {
        self.ports.get(*id).is_some_and(|port| port.is_served() && port.bindings.is_some())
    }
}

impl RequestedPort {
    /// Returns true if this entry of a Service is requested.
    pub(crate) fn means(&self, entry: &ServicePort) -> bool {
        let named = match &self.port {
            PortRef::Number(port) => *port == entry.port,
            PortRef::Name(name) => entry.name.as_ref() == Some(name),
        };
        named && self.protocol.is_none_or(|protocol| protocol == entry.protocol)
    }
}

impl ObjectName {
    /// Returns true if the name refers to this object.
    fn means(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}

fn ambiguous<'n>(
    what: &'static str,
    prefix: &str,
    name: &str,
    namespaces: impl Iterator<Item = &'n str>,
) -> ExplainError {
    let mut all: Vec<&str> = namespaces.collect();
    all.sort_unstable();
    all.dedup();
    let candidates = all.iter().take(MAX_NAMED).map(|namespace| format!("{prefix}{namespace}/{name}"));
    ExplainError::Ambiguous {
        what,
        name: name.to_owned(),
        count: all.len(),
        candidates: candidates.collect(),
    }
}

/// Formats ports as `80/TCP, 53/UDP and 7 more`; `no ports` if there are none.
pub(crate) fn some_of(ports: impl ExactSizeIterator<Item = (Protocol, NonZeroU16)>) -> String {
    let count = ports.len();
    if count == 0 {
        return "no ports".to_owned();
    }
    let shown: Vec<String> =
        ports.take(MAX_NAMED).map(|(protocol, port)| format!("{port}/{protocol}")).collect();
    let more = if count > shown.len() { format!(" and {} more", count - shown.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
