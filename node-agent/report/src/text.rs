//! One report as one line of text (`--output text`). Everything that a workload chose is escaped.

use crate::cells;
use crate::escape::terminal;
use crate::wire::{Connection, Envelope, Finding, Listener, Pod, Report};

/// Formats a report as one line that ends with a newline.
#[must_use]
pub fn line(report: &Report) -> String {
    let (envelope, rest) = parts(report);
    terminal(&format!("{} {rest}", envelope.time)) + "\n"
}

/// Formats a report as one line that also names the node, behind the time. It ends with a newline.
#[must_use]
pub fn line_with_node(report: &Report) -> String {
    let (envelope, rest) = parts(report);
    terminal(&format!("{} {} {rest}", envelope.time, envelope.node)) + "\n"
}

/// Returns the envelope of a report, and the text of the rest.
fn parts(report: &Report) -> (&Envelope, String) {
    match report {
        Report::Finding(finding) => (&finding.envelope, finding_text(finding)),
        Report::Listener(listener) => (&listener.envelope, listener_text(listener)),
        Report::Connection(connection) => (&connection.envelope, connection_text(connection)),
        Report::Loss(loss) => (
            &loss.envelope,
            format!(
                "LOSS      {} × {}{}",
                loss.count,
                loss.reason,
                if loss.recovered { ", recovered" } else { "" }
            ),
        ),
        Report::AgentStatus(status) => (
            &status.envelope,
            format!("STATUS    {} namespaces, {} listeners", status.namespaces, status.listeners),
        ),
    }
}

fn finding_text(finding: &Finding) -> String {
    let label =
        if finding.state == "open" { finding.severity.to_uppercase() } else { finding.state.to_uppercase() };
    let port = port_text(finding);
    let peers = match finding.traffic.peers.first() {
        Some(first) => format!(
            ", {} connections, {} bytes{}, from {}{}",
            finding.traffic.connections,
            finding.traffic.bytes,
            finding
                .listener
                .as_deref()
                .and_then(cells::counted_for)
                .map_or_else(String::new, |age| format!(" in {age}")),
            first.reference.as_deref().unwrap_or(&first.address),
            if finding.traffic.peers.len() > 1 { " and others" } else { "" },
        ),
        None => String::new(),
    };
    let message = match &finding.suppressed_by {
        Some(by) if finding.state == "suppressed" => format!("by {}: {}", by.rule, by.reason),
        _ => finding.message.clone(),
    };
    format!("{label:<9} {}{port} {}: {message}{peers}", pod_text(finding.pod.as_ref()), finding.code)
}

/// Returns ` PORT/PROTOCOL`, or nothing for a finding about a pod. A port without a listener is only in the finding.
fn port_text(finding: &Finding) -> String {
    let listener = finding.listener.as_deref();
    let port = finding.port.or_else(|| listener.map(|listener| listener.port));
    let protocol = finding.protocol.as_deref().or_else(|| listener.map(|listener| &*listener.protocol));
    port.zip(protocol).map_or_else(String::new, |(port, protocol)| format!(" {port}/{protocol}"))
}

fn listener_text(listener: &Listener) -> String {
    let location = match &listener.pod {
        Some(pod) => pod_text(Some(pod)),
        None => listener.netns.name.clone().unwrap_or_else(|| format!("netns {}", listener.netns.inode)),
    };
    format!(
        "{:<9} {location} {}/{} {} by {}",
        if listener.state == "open" { "LISTEN" } else { "CLOSED" },
        listener.port,
        listener.protocol,
        cells::declaration(listener),
        match cells::server(listener) {
            unknown if unknown == cells::NONE => "?".to_owned(),
            known => known,
        },
    )
}

fn connection_text(connection: &Connection) -> String {
    format!(
        "{:<9} {} {}/{} from {} port {} ({}), {} in, {} out",
        if connection.closed_at.is_some() { "ENDED" } else { "CONNECT" },
        pod_text(connection.pod.as_ref()),
        connection.local.port,
        connection.protocol,
        connection.remote.reference.as_deref().unwrap_or(&connection.remote.address),
        connection.remote.port,
        connection.remote.origin,
        connection.bytes_in,
        connection.bytes_out,
    )
}

fn pod_text(pod: Option<&Pod>) -> String {
    pod.map_or_else(|| "(no pod)".to_owned(), |pod| format!("{}/{}", pod.namespace, pod.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Declaration, Policy, Traffic};

    /// A finding without a listener.
    fn finding(code: &str, port: Option<u16>) -> Report {
        Report::Finding(Finding {
            envelope: Envelope {
                cluster: None,
                schema: "portolan/v1".to_owned(),
                node: "n1".to_owned(),
                time: "2026-03-04T12:00:00.000Z".to_owned(),
            },
            fingerprint: String::new(),
            id: "id".to_owned(),
            state: "open".to_owned(),
            code: code.to_owned(),
            severity: "info".to_owned(),
            message: "nothing listens".to_owned(),
            first_seen: String::new(),
            last_seen: String::new(),
            pod: Some(Pod {
                namespace: "shop".to_owned(),
                name: "web-0".to_owned(),
                uid: "u".to_owned(),
                workload: None,
                host_network: false,
                labels: None,
            }),
            container: None,
            protocol: port.map(|_| "TCP".to_owned()),
            port,
            listener: None,
            declaration: Declaration {
                status: "declared".to_owned(),
                declared_by: Vec::new(),
                explained_by: Vec::new(),
            },
            exposure: "pod".to_owned(),
            policy: Policy { verdict: "unknown".to_owned(), policies: Vec::new() },
            traffic: Traffic::default(),
            suppressed_by: None,
            changed_at: None,
            previous_code: None,
            former_fingerprint: None,
        })
    }

    #[test]
    fn a_finding_without_a_listener_names_its_port() {
        for code in ["stale-declaration", "dangling-service-port"] {
            assert_eq!(
                line(&finding(code, Some(5432))),
                format!("2026-03-04T12:00:00.000Z INFO      shop/web-0 5432/TCP {code}: nothing listens\n")
            );
        }
    }

    #[test]
    fn a_finding_about_a_pod_names_no_port() {
        assert_eq!(
            line(&finding("port-storm", None)),
            "2026-03-04T12:00:00.000Z INFO      shop/web-0 port-storm: nothing listens\n"
        );
    }
}
