//! Why a port that no container declares is expected: a probe or lifecycle hook calls it, a Service sends to it, an
//! annotation names it, a service mesh opens it, or a NetworkPolicy admits it by number.

use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::listener::{Audience, Explanation};
use crate::model::network_policy::NetworkPolicy;
use crate::model::pod::{Container, PortRef, ProbeHandler, ProbePort};
use crate::model::service::{Service, ServicePort};
use crate::rules::manifests::{Manifests, ServedPort};
use crate::rules::{isolation, mesh};

/// Annotation key: the port that Prometheus scrapes.
const PROMETHEUS_PORT: &str = "prometheus.io/port";

/// Annotation key: `false` turns scraping off.
const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";

/// One reason to expect a port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why<'a> {
    /// A probe or lifecycle handler of the container calls the port.
    Probe(&'a Container, ProbeHandler),
    /// The Service sends to the port.
    Service(&'a Service, &'a ServicePort),
    /// Load balancers ask at the port whether the node has pods of the Service.
    HealthCheck(&'a Service),
    /// The annotation with this key names the port.
    Annotation(&'static str),
    /// The mesh of this name opens the port in this container.
    Mesh(&'static str, &'a Container),
    /// The NetworkPolicy admits the port by number.
    Policy(&'a NetworkPolicy),
}

/// Returns every reason to expect a port, whether or not the port is declared as well.
pub(crate) fn explanations<'a>(
    manifests: Manifests<'a>,
    served: ServedPort<'a>,
) -> impl Iterator<Item = Why<'a>> + use<'a> {
    let ServedPort { protocol, port, .. } = served;
    let pod = manifests.pod;
    let probes =
        pod.containers.iter().filter(move |_| protocol == Protocol::Tcp).flat_map(move |container| {
            let called =
                container.probes.iter().filter(move |probe| called_port(container, probe) == Some(port));
            called.map(move |probe| Why::Probe(container, probe.handler))
        });
    let services = manifests.services.iter().flat_map(move |(service, _)| {
        let sending = service.ports.iter().filter(move |entry| entry.protocol == protocol);
        let sending = sending.filter(move |entry| entry.target_in(pod) == Some(port));
        sending.map(move |entry| Why::Service(service, entry))
    });
    // Whoever implements Services on the node, such as kube-proxy, listens there in the node's network.
    let checked = served.checks_for.filter(|_| pod.host_network).map(Why::HealthCheck);
    let annotation = scraped_port(manifests).filter(|scraped| (protocol, *scraped) == (Protocol::Tcp, port));
    let annotation = annotation.map(|_| Why::Annotation(PROMETHEUS_PORT));
    let mesh = mesh::opened_by(pod, served).map(|(mesh, container)| Why::Mesh(mesh, container));
    let policies = isolation::naming(manifests, protocol, port).map(Why::Policy);
    probes.chain(services).chain(checked).chain(annotation).chain(mesh).chain(policies)
}

/// Resolves the port of a probe. Kubelet looks for a name among the ports of the same container, of any protocol.
fn called_port(container: &Container, probe: &ProbePort) -> Option<NonZeroU16> {
    match &probe.port {
        PortRef::Number(port) => Some(*port),
        PortRef::Name(name) => {
            container.ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.port)
        }
    }
}

/// Returns the port that Prometheus scrapes by the pod's annotations.
fn scraped_port(manifests: Manifests<'_>) -> Option<NonZeroU16> {
    let annotations = &manifests.pod.annotations;
    let off = annotations.get(PROMETHEUS_SCRAPE).is_some_and(|scrape| scrape.trim() == "false");
    annotations.get(PROMETHEUS_PORT).filter(|_| !off)?.trim().parse().ok()
}

impl Why<'_> {
    /// Returns whose calls to this port it explains.
    pub(crate) fn audience(&self, protocol: Protocol, port: NonZeroU16) -> Audience {
        match self {
            // Kubelet's own.
            Why::Probe(..) => Audience::Node,
            Why::Service(service, entry) if service.leads_in(entry) => Audience::Everybody,
            // A pod that dials the pod's address could have come through the Service.
            Why::Service(..) | Why::Annotation(_) => Audience::Pods,
            // Load balancers ask from outside.
            Why::Mesh(..) | Why::HealthCheck(_) => Audience::Everybody,
            Why::Policy(policy) => isolation::rules_naming(policy, protocol, port)
                .map(isolation::audience_of)
                .max()
                .unwrap_or(Audience::Node),
        }
    }

    /// Returns the explanation of this port as reports show it.
    pub(crate) fn describe(self, protocol: Protocol, port: NonZeroU16) -> Explanation {
        let audience = self.audience(protocol, port);
        let (source, reference) = match self {
            Why::Probe(container, handler) => {
                let lifecycle = matches!(handler, ProbeHandler::PostStart | ProbeHandler::PreStop);
                let source = if lifecycle { "lifecycle" } else { "probe" };
                (source, format!("container/{}/{}", container.name, handler.as_str()))
            }
            Why::Service(service, port) => {
                ("service", format!("{}/{}:{}", service.namespace, service.name, port.port))
            }
            Why::HealthCheck(service) => ("health-check", format!("{}/{}", service.namespace, service.name)),
            Why::Annotation(key) => ("annotation", key.to_owned()),
            Why::Mesh(mesh, container) => ("mesh", format!("{mesh} in container/{}", container.name)),
            Why::Policy(policy) => ("network-policy", format!("{}/{}", policy.namespace, policy.name)),
        };
        Explanation { source: source.to_owned(), reference, audience }
    }
}
