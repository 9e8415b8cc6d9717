//! One report as one line for people (`--output text`). Everything that a workload chose is escaped.

use crate::escape::terminal;
use crate::wire::{Connection, Finding, Listener, Pod, Report};

/// `wire` as one line with its newline.
#[must_use]
pub fn line(report: &Report) -> String {
    let (time, rest) = match report {
        Report::Finding(finding) => (&finding.envelope.time, finding_text(finding)),
        Report::Listener(listener) => (&listener.envelope.time, listener_text(listener)),
        Report::Connection(connection) => (&connection.envelope.time, connection_text(connection)),
        Report::Loss(loss) => (
            &loss.envelope.time,
            format!(
                "LOSS      {} × {}{}",
                loss.count,
                loss.reason,
                if loss.recovered { ", recovered" } else { "" }
            ),
        ),
        Report::AgentStatus(status) => (
            &status.envelope.time,
            format!("STATUS    {} namespaces, {} listeners", status.namespaces, status.listeners),
        ),
    };
    let mut line = terminal(&format!("{time} {rest}"));
    line.push('\n');
    line
}

fn finding_text(finding: &Finding) -> String {
    let what =
        if finding.state == "open" { finding.severity.to_uppercase() } else { finding.state.to_uppercase() };
    let port = finding.listener.as_ref().map_or_else(String::new, |l| format!(" {}/{}", l.port, l.protocol));
    let peers = match finding.traffic.peers.first() {
        Some(first) => format!(
            ", {} connections, {} bytes, from {}{}",
            finding.traffic.connections,
            finding.traffic.bytes,
            first.reference.as_deref().unwrap_or(&first.address),
            if finding.traffic.peers.len() > 1 { " and others" } else { "" },
        ),
        None => String::new(),
    };
    let said = match &finding.suppressed_by {
        Some(by) if finding.state == "suppressed" => format!("by {}: {}", by.rule, by.reason),
        _ => finding.message.clone(),
    };
    format!("{what:<9} {}{port} {}: {said}{peers}", pod_text(finding.pod.as_ref()), finding.code)
}

fn listener_text(listener: &Listener) -> String {
    let place = match &listener.pod {
        Some(pod) => pod_text(Some(pod)),
        None => listener.netns.name.clone().unwrap_or_else(|| format!("netns {}", listener.netns.inode)),
    };
    format!(
        "{:<9} {place} {}/{} {} by {}",
        if listener.state == "open" { "LISTEN" } else { "CLOSED" },
        listener.port,
        listener.protocol,
        listener.declaration.status,
        listener.process.as_ref().map_or_else(|| "?".to_owned(), |p| format!("{}({})", p.name, p.pid)),
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
