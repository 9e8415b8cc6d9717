//! Renders listeners and findings from the state on request, so that the state itself stays small.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::model::finding::Finding;
use crate::model::finding_code::FindingCode;
use crate::model::fingerprint::hex;
use crate::model::identity::{BootTime, NetnsId, PortId, Protocol};
use crate::model::listener::{
    Audience, Declaration, DeclarationStatus, Explanation, Exposure, Listener, ListenerState,
};
use crate::model::netns::NetnsRef;
use crate::model::pod::PodRef;
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;
use crate::read::message;
use crate::rules::manifests::ServedPort;
use crate::rules::{declaration, isolation};
use crate::state::bindings::Bindings;
use crate::state::facts::Facts;
use crate::state::findings::{FindingRecord, Subject};
use crate::state::pod_record::PodRecord;
use crate::state::port::Port;
use crate::state::ports::Ports;
use crate::state::storms::StormScope;
use crate::state::unserved::Refusal;

/// Renders a listener.
pub(crate) fn listener(facts: &Facts, id: PortId, port: &Port, state: ListenerState) -> Listener {
    let record = port.pod.and_then(|pod| facts.pods.get(pod));
    let bindings = port.bindings.as_ref();
    let addresses = bindings.map(|bindings| bindings.addresses.to_vec()).unwrap_or_default();
    let host = facts.netns.is_host(id.netns);
    let unknown = if host { Exposure::Host } else { Exposure::Pod };
    Listener {
        id: hex(port.id),
        port: id,
        exposure: bindings.map_or(unknown, |bindings| bindings.exposure(host)),
        addresses,
        v6_only: bindings.is_some_and(|bindings| bindings.v6_only),
        sockets: port.sockets.len(),
        netns: netns_ref(facts, id.netns),
        served_by: port.served_by(),
        process: bindings.and_then(|bindings| bindings.shown.process()).map(|process| (**process).clone()),
        other_processes: bindings.into_iter().flat_map(Bindings::others).cloned().collect(),
        forwarded_to: port.forward.as_ref().filter(|_| port.is_forwarded()).map(|forward| forward.to),
        unproven: port.unproven,
        in_storm: record.is_some_and(|record| record.storm.is_active()),
        opened_at: bindings.and_then(|bindings| bindings.opened_at.get()),
        state,
        pod: record.map(|record| (*record.reference).clone()),
        container: facts.container(port).cloned(),
        declaration: declaration::describe(record.map(PodRecord::manifests), facts.served_port(id, port)),
        traffic: port.report(id.protocol, facts.own_addresses(id.netns, port.pod)),
    }
}

/// Renders the finding of a port, last seen at `now` or later.
pub(crate) fn port_finding(
    facts: &Facts,
    record: &FindingRecord,
    id: PortId,
    port: &Port,
    now: BootTime,
) -> Finding {
    let state = if port.is_served() { ListenerState::Open } else { ListenerState::Closed };
    let listener = Arc::new(listener(facts, id, port, state));
    let policy = port
        .pod
        .and_then(|pod| facts.pods.get(pod))
        .map(|pod| policy_of(facts, pod, id.protocol, id.port))
        .unwrap_or_default();
    let code = record.assessment.code;
    let other_pod = port.served_from.and_then(|pod| facts.pods.get(pod)).map(|record| &*record.label);
    Finding {
        id: hex(port.id),
        state: record.state(),
        code,
        message: message::listener(code, &listener, &policy, other_pod),
        first_seen: record.first_seen,
        last_seen: now.max(record.reported_at).max(port.traffic().last_seen().unwrap_or_default()),
        pod: listener.pod.clone(),
        container: listener.container.clone(),
        protocol: Some(id.protocol),
        port: Some(id.port),
        declaration: listener.declaration.clone(),
        exposure: listener.exposure,
        policy,
        traffic: listener.traffic.clone(),
        suppressed_by: record.assessment.suppressed_by.clone(),
        changed_at: record.changed_at.get(),
        previous_code: record.previous_code,
        opened_at: None,
        listener: Some(listener),
    }
}

/// Renders any finding; `None` if its pod or port is not known any more.
pub(crate) fn finding(facts: &Facts, ports: &Ports, id: u64, record: &FindingRecord) -> Option<Finding> {
    match record.subject {
        Subject::Port(port_id) => {
            let port = ports.get(port_id)?;
            Some(port_finding(facts, record, port_id, port, record.reported_at))
        }
        Subject::Storm(scope) => storm(facts, ports, id, record, scope),
        Subject::Stale(..) | Subject::Dangling(..) | Subject::MissingName(..) | Subject::Opaque(_) => {
            pod_finding(facts, id, record)
        }
    }
}

/// Renders a finding about a pod or about one of its unserved ports; `None` for other subjects, or if the pod is not
/// known any more.
pub(crate) fn pod_finding(facts: &Facts, id: u64, record: &FindingRecord) -> Option<Finding> {
    match record.subject {
        Subject::Port(_) | Subject::Storm(_) => None,
        Subject::Stale(key, protocol, port) => {
            let pod = facts.pods.get(key)?;
            let mut finding = unserved(facts, id, record, pod, (protocol, port));
            finding.message = message::stale(&pod.reference, protocol, port.get());
            Some(finding)
        }
        Subject::Dangling(key, protocol, port) => {
            let pod = facts.pods.get(key)?;
            let mut finding = unserved(facts, id, record, pod, (protocol, port));
            let unserved = pod.unserved.get((protocol, port)).and_then(|unserved| unserved.dangling_since);
            let expects = pod.expected.get((protocol, port)).unwrap_or_default();
            let refusal = unserved.map_or(Refusal::Nobody, |(_, refusal)| refusal);
            let families = expects.sent_to(&pod.pod);
            finding.message = message::dangling(pod.manifests(), protocol, port, (refusal, families));
            Some(finding)
        }
        Subject::MissingName(key, target) => {
            let pod = facts.pods.get(key)?;
            let missing = pod.unserved.name(target)?;
            let mut finding = bare(id, record, Some(&pod.reference));
            finding.message = message::missing_name(&pod.pod, missing);
            finding.protocol = Some(missing.protocol);
            let reference = format!("{}/{}:{}", missing.namespace, missing.service, missing.port);
            let source = "service".to_owned();
            finding.declaration.explained_by =
                vec![Explanation { source, reference, audience: Audience::Pods }];
            Some(finding)
        }
        Subject::Opaque(key) => {
            let pod = facts.pods.get(key)?;
            let mut finding = bare(id, record, Some(&pod.reference));
            finding.message = message::opaque(&pod.pod);
            finding.declaration.status = DeclarationStatus::Unknown;
            Some(finding)
        }
    }
}

/// Renders a storm finding, with the traffic of its ports summed up.
fn storm(
    facts: &Facts,
    ports: &Ports,
    id: u64,
    record: &FindingRecord,
    scope: StormScope,
) -> Option<Finding> {
    let storm = facts.storm(scope)?;
    let mut finding = match scope {
        StormScope::Pod(key) => {
            let pod = facts.pods.get(key)?;
            let mut finding = bare(id, record, Some(&pod.reference));
            finding.message = message::pod_storm(&pod.reference, storm.ports().len());
            finding
        }
        StormScope::QuietPod(key) => {
            let pod = facts.pods.get(key)?;
            let mut finding = bare(id, record, Some(&pod.reference));
            finding.message = message::quiet_storm(&pod.reference, storm.ports().len());
            if record.assessment.code == FindingCode::UndeclaredLoopback {
                finding.exposure = Exposure::Loopback;
            }
            finding
        }
        StormScope::Netns(netns) => {
            let mut finding = bare(id, record, None);
            finding.message = message::netns_storm(&netns_ref(facts, netns), storm.ports().len());
            finding.declaration.status = DeclarationStatus::Unknown;
            finding
        }
    };
    for (id, port) in storm.ports().filter_map(|id| Some((id, ports.get(id)?))) {
        port.traffic().add_to(id.protocol, &mut finding.traffic);
        finding.traffic.since = finding.traffic.since.max(port.counted_since());
        finding.traffic.earlier = finding.traffic.earlier.max(port.earlier.unwrap_or_default());
    }
    Some(finding)
}

/// Renders a finding about a port that nothing serves, without its message.
fn unserved(
    facts: &Facts,
    id: u64,
    record: &FindingRecord,
    pod: &PodRecord,
    (protocol, port): (Protocol, NonZeroU16),
) -> Finding {
    let declaring = declaration::declaring(&pod.pod, protocol, port);
    let mut finding = bare(id, record, Some(&pod.reference));
    finding.protocol = Some(protocol);
    finding.port = Some(port);
    finding.container = match declaring.as_slice() {
        [one] => Some((*one).clone()),
        _ => None,
    };
    let served = ServedPort::unserved(protocol, port);
    finding.declaration = declaration::describe(Some(pod.manifests()), served);
    finding.policy = policy_of(facts, pod, protocol, port);
    finding
}

fn policy_of(facts: &Facts, pod: &PodRecord, protocol: Protocol, port: NonZeroU16) -> Policy {
    isolation::describe(facts.policies.known(), pod.manifests(), protocol, port)
}

/// Names a netns as reports do.
pub(crate) fn netns_ref(facts: &Facts, netns: NetnsId) -> NetnsRef {
    let facts = facts.netns.facts(netns);
    let name = facts.and_then(|f| f.paths.first()).and_then(|p| p.rsplit('/').next()).map(str::to_owned);
    NetnsRef { inode: facts.map_or(0, |facts| facts.inode), name }
}

/// Renders what every finding without a listener has in common, without its message.
fn bare(id: u64, record: &FindingRecord, pod: Option<&PodRef>) -> Finding {
    Finding {
        id: hex(id),
        state: record.state(),
        code: record.assessment.code,
        message: String::new(),
        first_seen: record.first_seen,
        last_seen: record.reported_at,
        pod: pod.cloned(),
        container: None,
        listener: None,
        protocol: None,
        port: None,
        declaration: Declaration {
            status: DeclarationStatus::Undeclared,
            declared_by: Vec::new(),
            explained_by: Vec::new(),
        },
        exposure: if pod.is_some_and(|pod| pod.host_network) { Exposure::Host } else { Exposure::Pod },
        policy: Policy::default(),
        traffic: Traffic::default(),
        suppressed_by: record.assessment.suppressed_by.clone(),
        changed_at: record.changed_at.get(),
        previous_code: record.previous_code,
        opened_at: None,
    }
}
