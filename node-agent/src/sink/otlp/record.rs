//! Log record of a finding. Attribute names are those of OpenTelemetry's semantic conventions, else begin with `portolan.`.

use jiff::Timestamp;
use portolan_report::wire::{Container, Finding, Peer, Pod, Process, Traffic};

use super::attributes::Attributes;
use super::messages::{AnyValue, KeyValue, LogRecord, Value};

/// `EventName` of every record.
pub const EVENT: &str = "portolan.finding";

/// Converts a finding that opened, changed or ended.
#[must_use]
pub fn log_record(finding: &Finding) -> LogRecord {
    let (severity_number, severity_text) = severity(finding);
    let time = unix_nano(&finding.envelope.time);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::Text(finding.message.clone())) }),
        attributes: attributes(finding),
        event_name: EVENT.to_owned(),
    }
}

/// Returns severity number and text. A resolved or suppressed finding is `info`. The numbers are OpenTelemetry's mapping of
/// syslog levels.
fn severity(finding: &Finding) -> (i32, &str) {
    const INFO: i32 = 9;
    if finding.state != "open" {
        return (INFO, "info");
    }
    let number = match finding.severity.as_str() {
        "critical" => 18,
        "high" => 17,
        "medium" => 13,
        "low" => 10,
        _ => INFO,
    };
    (number, &finding.severity)
}

fn attributes(finding: &Finding) -> Vec<KeyValue> {
    let mut all = Attributes::default();
    all.text("portolan.finding.id", &finding.id);
    all.text("portolan.finding.fingerprint", &finding.fingerprint);
    all.text("portolan.finding.code", &finding.code);
    all.text("portolan.finding.state", &finding.state);
    all.text("portolan.finding.severity", &finding.severity);
    all.text("portolan.finding.first_seen", &finding.first_seen);
    all.text("portolan.finding.last_seen", &finding.last_seen);
    let listener = finding.listener.as_deref();
    pod(&mut all, finding.pod.as_ref());
    container(&mut all, finding.container.as_ref());
    process(&mut all, listener.and_then(|listener| listener.process.as_ref()));
    all.maybe("network.transport", finding.protocol.as_ref().map(|protocol| protocol.to_ascii_lowercase()));
    if let Some(port) = finding.port {
        all.number("server.port", port);
    }
    if let Some(listener) = listener {
        all.list("portolan.listener.addresses", &listener.addresses);
        all.number("portolan.netns.inode", listener.netns.inode);
        all.maybe("portolan.netns.name", listener.netns.name.as_ref());
        all.maybe("portolan.listener.opened_at", listener.opened_at.as_ref());
    }
    all.text("portolan.declaration.status", &finding.declaration.status);
    all.list("portolan.declaration.declared_by", &finding.declaration.declared_by);
    let explained = finding.declaration.explained_by.iter();
    all.list(
        "portolan.declaration.explained_by",
        explained.map(|by| format!("{} {}", by.source, by.reference)),
    );
    all.text("portolan.exposure", &finding.exposure);
    all.text("portolan.policy.verdict", &finding.policy.verdict);
    all.list("portolan.policy.policies", &finding.policy.policies);
    traffic(&mut all, &finding.traffic);
    if let Some(suppression) = &finding.suppressed_by {
        all.text("portolan.suppressed_by.rule", &suppression.rule);
        all.text("portolan.suppressed_by.reason", &suppression.reason);
    }
    all.into_list()
}

fn pod(all: &mut Attributes, pod: Option<&Pod>) {
    let Some(pod) = pod else { return };
    all.text("k8s.namespace.name", &pod.namespace);
    all.text("k8s.pod.name", &pod.name);
    all.text("k8s.pod.uid", &pod.uid);
    all.truth("portolan.pod.host_network", pod.host_network);
    let Some(workload) = &pod.workload else { return };
    let name = &workload.name;
    match workload.kind.as_str() {
        "CronJob" => all.text("k8s.cronjob.name", name),
        "DaemonSet" => all.text("k8s.daemonset.name", name),
        "Deployment" => all.text("k8s.deployment.name", name),
        "Job" => all.text("k8s.job.name", name),
        "ReplicaSet" => all.text("k8s.replicaset.name", name),
        "ReplicationController" => all.text("k8s.replicationcontroller.name", name),
        "StatefulSet" => all.text("k8s.statefulset.name", name),
        _ => {}
    }
    all.text("portolan.workload.kind", &workload.kind);
    all.text("portolan.workload.name", name);
}

fn container(all: &mut Attributes, container: Option<&Container>) {
    let Some(container) = container else { return };
    all.text("k8s.container.name", &container.name);
    // Kubernetes prefixes the runtime: `containerd://ID`.
    let id = container.id.split_once("://").map_or(container.id.as_str(), |(_, id)| id);
    if !id.is_empty() {
        all.text("container.id", id);
    }
    let (name, digest) = match container.image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (container.image.as_str(), None),
    };
    // A colon before the last slash belongs to a registry's port.
    let tagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let bare = tagged.map_or(name, |(bare, _)| bare);
    if !bare.is_empty() {
        all.text("container.image.name", bare);
    }
    all.list("container.image.tags", tagged.map(|(_, tag)| tag));
    // What the runtime pulled, else what the reference pins.
    let digest = container.image_digest.as_deref().or(digest);
    all.list("container.image.repo_digests", digest.map(|digest| format!("{bare}@{digest}")));
}

fn process(all: &mut Attributes, process: Option<&Process>) {
    let Some(process) = process else { return };
    let base = process.executable.as_deref().and_then(|path| path.rsplit('/').next());
    all.number("process.pid", process.pid);
    all.text("process.executable.name", base.filter(|base| !base.is_empty()).unwrap_or(&process.name));
    all.maybe("process.executable.path", process.executable.as_ref());
    // `comm`, which the process can set to any text.
    all.text("portolan.process.name", &process.name);
}

fn traffic(all: &mut Attributes, traffic: &Traffic) {
    all.number("portolan.traffic.attempts", traffic.attempts);
    all.number("portolan.traffic.connections", traffic.connections);
    all.number("portolan.traffic.packets", traffic.packets);
    all.number("portolan.traffic.bytes", traffic.bytes);
    all.maybe("portolan.traffic.since", traffic.since.as_ref());
    all.maybe("portolan.traffic.called_earlier", traffic.called_earlier.as_ref());
    all.maybe("portolan.traffic.last_seen", traffic.last_seen.as_ref());
    let mut origins: Vec<&str> = traffic.peers.iter().map(|peer| peer.origin.as_str()).collect();
    origins.sort_unstable();
    origins.dedup();
    all.list("portolan.traffic.origins", origins);
    all.maps("portolan.traffic.peers", traffic.peers.iter().map(peer));
    all.truth("portolan.traffic.truncated", traffic.truncated);
}

fn peer(peer: &Peer) -> Attributes {
    let mut one = Attributes::default();
    one.text("address", &peer.address);
    one.text("origin", &peer.origin);
    one.maybe("ref", peer.reference.as_ref());
    if let Some(via) = &peer.via {
        one.text("via.kind", &via.kind);
        one.text("via.address", &via.address);
        one.number("via.port", via.port);
        one.maybe("via.ref", via.reference.as_ref());
        one.maybe("via.client", via.client.as_ref());
    }
    one.number("connections", peer.connections);
    one.number("packets", peer.packets);
    one.number("bytes", peer.bytes);
    one
}

fn unix_nano(rfc3339: &str) -> u64 {
    let at: Timestamp = rfc3339.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
