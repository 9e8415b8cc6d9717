//! Fingerprints of findings and listeners, from the names that the engine knows.

use portolan_engine::model::finding::Finding;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::listener::Listener;
use portolan_engine::model::pod::Container;
use portolan_report::fingerprint::{Place, Subject, fingerprint};
use portolan_report::wire;

use super::pod_ref;

/// Returns the fingerprint of a listener's port. `pod` is its pod, converted.
pub(super) fn of_listener(listener: &Listener, pod: Option<&wire::Pod>, node: &str) -> String {
    let subject = Subject::Port { protocol: listener.port.protocol.as_str(), port: listener.port.port.get() };
    let sole = listener.pod.as_ref().and_then(|pod| pod.sole_container.as_deref());
    at(pod, container_name(listener.container.as_ref(), sole), Some(listener), node, subject)
}

/// Returns the fingerprint of a finding: of the listener's port, if there is one.
#[must_use]
pub fn of_finding(finding: &Finding, node: &str) -> String {
    of_finding_in(finding, finding.pod.as_ref().map(pod_ref).as_ref(), node)
}

/// Returns the fingerprint of a finding. `pod` is its pod, converted.
pub(super) fn of_finding_in(finding: &Finding, pod: Option<&wire::Pod>, node: &str) -> String {
    let code = finding.code.as_str();
    let explained_by = finding.declaration.explained_by.first();
    let protocol = finding.protocol.map(|protocol| protocol.as_str());
    let subject = match (protocol, finding.port) {
        (Some(protocol), Some(port)) if is_unserved(finding.code) => {
            Subject::Unserved { code, protocol, port: port.get() }
        }
        (Some(protocol), Some(port)) => Subject::Port { protocol, port: port.get() },
        // A storm in a netns without a pod has neither listener nor names: its id tells the netns.
        _ if pod.is_none() && finding.listener.is_none() => Subject::Pod { code, about: &finding.id },
        _ => Subject::Pod { code, about: explained_by.map_or("", |by| &by.reference) },
    };
    let sole = finding.pod.as_ref().and_then(|pod| pod.sole_container.as_deref());
    let container = match subject {
        Subject::Pod { .. } => "",
        Subject::Port { .. } | Subject::Unserved { .. } => container_name(finding.container.as_ref(), sole),
    };
    at(pod, container, finding.listener.as_deref(), node, subject)
}

/// Returns true if the finding says that nothing serves a port that something expects.
fn is_unserved(code: FindingCode) -> bool {
    matches!(code, FindingCode::StaleDeclaration | FindingCode::DanglingServicePort)
}

/// Returns the name of the container; of an unknown one that of the pod's sole container, as no other could serve the port.
fn container_name<'a>(container: Option<&'a Container>, sole: Option<&'a str>) -> &'a str {
    container.map(|container| container.name.as_str()).or(sole).unwrap_or_default()
}

fn at(
    pod: Option<&wire::Pod>,
    container: &str,
    listener: Option<&Listener>,
    node: &str,
    subject: Subject<'_>,
) -> String {
    let Some(pod) = pod else {
        let netns = listener.and_then(|listener| listener.netns.name.as_deref()).unwrap_or_default();
        let process = listener.and_then(|listener| listener.process.as_ref());
        let process = process.map_or("", |process| process.name.as_str());
        return fingerprint(Place::Netns { node, netns, process }, subject);
    };
    fingerprint(Place::Pod { pod, container, node }, subject)
}
