//! Fingerprint of a finding in a file, also of one that an agent wrote before findings had fingerprints.

use portolan_report::fingerprint::{Place, Subject, fingerprint};
use portolan_report::wire::Finding;

/// Codes of findings that say that nothing serves a port.
const UNSERVED: [&str; 2] = ["stale-declaration", "dangling-service-port"];

/// Returns the fingerprint that the finding has, or the one that it would have.
///
/// If the container is unknown, the agent takes the pod's only one. The object does not say whether there is one, so the result
/// may differ in this case.
pub(super) fn of(finding: &Finding) -> String {
    if !finding.fingerprint.is_empty() {
        return finding.fingerprint.clone();
    }
    let (code, node) = (finding.code.as_str(), finding.envelope.node.as_str());
    let subject = match (finding.protocol.as_deref(), finding.port) {
        (Some(protocol), Some(port)) if UNSERVED.contains(&code) => {
            Subject::Unserved { code, protocol, port }
        }
        (Some(protocol), Some(port)) => Subject::Port { protocol, port },
        // A storm in a netns without a pod has neither listener nor names: its id tells the netns.
        _ if finding.pod.is_none() && finding.listener.is_none() => Subject::Pod { code, about: &finding.id },
        _ => {
            let by = finding.declaration.explained_by.first();
            Subject::Pod { code, about: by.map_or("", |by| by.reference.as_str()) }
        }
    };
    let place = if let Some(pod) = &finding.pod {
        let container = finding.container.as_ref().map_or("", |container| container.name.as_str());
        Place::Pod { pod, container, node }
    } else {
        let listener = finding.listener.as_deref();
        let netns = listener.and_then(|listener| listener.netns.name.as_deref()).unwrap_or_default();
        let process = listener.and_then(|listener| listener.process.as_ref());
        Place::Netns { node, netns, process: process.map_or("", |process| process.name.as_str()) }
    };
    fingerprint(place, subject)
}
